"""News of an order that is not ours, on an account that others use as well. Pure."""

from __future__ import annotations

from collections.abc import Callable

from config.settings import RecoverySettings
from daemon.effects import CancelOrder, Effect
from daemon.identity import is_foreign_id
from daemon.notes import NoteBook
from kernels.events import OrderStatus, OrderUpdate
from risk.breaker import Trigger

RESTS = (OrderStatus.WORKING, OrderStatus.PARTIALLY_FILLED)


def answer(
    update: OrderUpdate,
    policy: RecoverySettings,
    notes: NoteBook,
    trip: Callable[[Trigger, str], tuple[Effect, ...]],
) -> tuple[Effect, ...]:
    """Answer to an order that appears while we trade, as ``recovery.foreign`` says.

    Each time that it is told to rest there is a note; ``adopt`` cancels it, ``halt`` trips.
    """
    if update.status not in RESTS or not is_foreign_id(update.client_order_id):
        return ()
    note = notes.note(
        "order_foreign",
        update.instrument,
        client_order_ids=[update.client_order_id],
        policy=policy.foreign,
    )
    if policy.foreign == "halt":
        return (note, *trip(Trigger.OPERATOR_HALT, "an open order is not ours"))
    if policy.foreign == "ignore":
        return (note,)
    cancel = CancelOrder(
        client_order_id=update.client_order_id,
        instrument=update.instrument,
        reason="not ours, recovery.foreign is adopt",
    )
    return (note, cancel)
