"""The one recovery of a start: continue, cancel, compare with the venue, and say what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daemon.effects import Note
from daemon.event_opening import account_fingerprint
from daemon.model_store import named
from daemon.venues.reconcile import fetch_account
from daemon.venues.recovery import is_foreign, recover
from daemon.warm_start import Earlier, continue_from, find_earlier
from kernels.events import Command, CommandName, Fill

if TYPE_CHECKING:
    from daemon.assembly import Parts

LATE_NS = 5_000_000_000
"""Intents this much older than the last recorded event are looked at again: the log is behind."""


async def recover_account(parts: Parts) -> None:
    """Bring engine, journal and venue to one account before anything is decided.

    Raises ReconcileError and OSError when the venue does not answer or an order stays open.
    """
    earlier = _find(parts) if parts.settings.recovery.warm else None
    if parts.journal.torn_count:
        reason = f"{parts.journal.torn_count} slots of the intent ring were never finished"
        _note(parts, "journal_torn", reason=reason)
    policy = parts.settings.recovery.foreign
    found = await recover(
        parts.venue,
        parts.instruments,
        parts.journal,
        parts.clock,
        parts.generator,
        foreign=policy,
        asks=earlier is None,
    )
    opening = await fetch_account(parts.venue, parts.instruments, parts.clock)
    desk = parts.engine.desk
    if earlier is not None:
        _continue(parts, earlier)
    else:
        # what earlier runs sent is proven by now, and its fills are part of these positions
        desk.ledger.adopt(opening)
        desk.agents.adopt(desk.ledger)
    ours = tuple(desk.ledger.position_lots(each.index) for each in parts.instruments)
    for order in desk.orders.open_orders():
        parts.gateway.expect(order.client_order_id, order.sent_ns)
    reasons: list[str] = []
    if found.foreign:
        names = [each.client_order_id for each in found.foreign]
        _note(parts, "order_foreign", client_order_ids=names[:20], policy=policy)
        reasons.append(f"{len(names)} open orders are not ours")
    if policy == "ignore":  # whoever places them looks after them, also when we stop
        parts.gateway.spares = is_foreign
    if ours != opening.position_lots and not desk.orders.open_orders():
        fields = {"ours": list(ours), "venue": list(opening.position_lots), "policy": policy}
        _note(parts, "position_mismatch", **fields)
        desk.ledger.adopt(opening)
        desk.agents.adopt(desk.ledger)
        reasons.append("positions changed while no daemon ran")
    if reasons and policy == "halt":
        reason = "; ".join(reasons)
        now_ns = parts.clock.now_ns()
        parts.lanes.put(Command(received_ns=now_ns, name=CommandName.HALT, reason=reason))
    _note(
        parts,
        "recovery_finished",
        open_intents=found.open_intent_count,
        proven=found.proven_count,
        untold_lots=found.untold_lots,
        awaiting=len(desk.orders.open_orders()),
        continues=earlier.run_id if earlier else "",
    )


def _find(parts: Parts) -> Earlier | None:
    model = parts.shelf(named(parts.bundle))
    assert model is not None, "the first bundle is on the shelf"
    try:
        return find_earlier(
            parts.journal.path.parent,
            account=account_fingerprint(parts.venue.account_id),
            instruments=parts.instruments,
            model=model,
            bundle=named(parts.bundle),
            find=parts.shelf,
        )
    except (OSError, ValueError) as error:
        _note(parts, "journal_error", reason=f"no warm restart: {error}")
        return None


def _continue(parts: Parts, earlier: Earlier) -> None:
    """Take over what stood, and enter into the journal what its thread did not get to."""
    now_ns = parts.clock.now_ns()
    unsettled = {each.client_order_id for each in parts.journal.open_intents()}
    for news in earlier.news:
        if isinstance(news, Fill):
            parts.journal.record_fill(news)  # one that is there already is not entered twice
        elif news.client_order_id in unsettled:
            parts.journal.record_update(news)
    late = parts.journal.late_intents(earlier.at_ns - LATE_NS)
    is_warm = continue_from(earlier, parts.engine, (*parts.journal.open_intents(), *late), now_ns)
    if earlier.flaw is not None:
        _note(parts, "journal_torn", reason=earlier.flaw)
    _note(
        parts,
        "run_continued",
        run=earlier.run_id,
        is_warm=is_warm,
        gap_ms=(now_ns - earlier.at_ns) // 1_000_000,
        turns=earlier.turns_count,
    )


def _note(parts: Parts, event: str, **fields: Any) -> None:
    parts.dispatcher.note(Note(event=event, event_ns=parts.clock.now_ns(), fields=fields))
