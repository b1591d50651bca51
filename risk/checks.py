"""One function per limit: ``check(intent, scene) -> Denial | None``, and which apply to what.

``shape_denial`` comes first, for every intent: only what it lets through can be looked at. Then
either ``new_risk_denial`` or, for reduce-only intents, ``reduction_denial``. A check answers for
one thing only. Whoever adds a limit adds a function, a line in one of these three and a test that
fails without it. How much an account may hold and lose stands in ``risk.exposure_checks``.

The three name every check instead of looping over a table: 31 calls of one call site that never
meets the same function twice cost 1.6 us more than 31 call sites of their own.
"""

from __future__ import annotations

from kernels.events import OrderIntent, OrderType, Side, Verdict
from kernels.units import BPS_PER_UNIT, E8
from risk.breaker import NS_PER_MS, BreakerState
from risk.exposure_checks import (
    agents_armed,
    daily_loss,
    drawdown,
    equity_known,
    gross_notional,
    leverage,
    margin,
    marks_fresh,
    marks_known,
    net_notional,
    order_notional,
    position_notional,
)
from risk.reasons import Denial, DenialCode, beyond
from risk.scene import Scene
from risk.throttle import NANO
from risk.views import ModelVerdict

SHARE_SUM_ERROR_MAX = 1e-6
"""Shares of agents sum to 1 within this."""

# an enum's member costs 50 ns to look up by its class, twice what a name of this module does
_NORMAL, _FEED_OK, _MODEL_OK = BreakerState.NORMAL, Verdict.OK, ModelVerdict.OK


def instrument_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny an index outside the configured instruments."""
    count = len(scene.instruments)
    if type(intent.instrument) is int and 0 <= intent.instrument < count:
        return None
    return Denial(
        code=DenialCode.INSTRUMENT_UNKNOWN,
        limit=float(count - 1),
        observed=0.0,
        detail=f"instrument index {intent.instrument!r}",
    )


def well_formed(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny prices and quantities that are not positive whole numbers, wrong enums and shares."""
    price, lots = intent.price_ticks, intent.quantity_lots
    if not (type(price) is int and price > 0 and type(lots) is int and lots > 0):
        return _malformed(f"price_ticks is {price!r}, quantity_lots is {lots!r}")
    if type(intent.side) is not Side or type(intent.order_type) is not OrderType:
        return _malformed(f"side {intent.side!r}, order type {intent.order_type!r}")
    if type(intent.reduce_only) is not bool:
        return _malformed(f"reduce_only is {intent.reduce_only!r}")
    shares = intent.agent_share_A
    if not shares:
        return None
    try:
        if (
            abs(sum(shares) - 1.0) <= SHARE_SUM_ERROR_MAX
            and min(shares) >= 0.0
            and len(shares) == scene.memory.agents.count_A
        ):
            return None
    except TypeError:  # not numbers at all
        return _malformed(f"shares of the agents are {shares!r}")
    return _malformed(f"shares of the agents are {shares!r}")


def sequence_fresh(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny a sequence not above every approved one: it would reuse a client order id."""
    if type(intent.sequence) is int and intent.sequence > scene.memory.last_sequence:
        return None
    return Denial(
        code=DenialCode.SEQUENCE_REUSED,
        limit=float(scene.memory.last_sequence + 1),
        observed=0.0,
        detail=f"sequence {intent.sequence!r}, lowest free {scene.memory.last_sequence + 1}",
    )


def breaker_permits(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny what the breaker's state does not permit; see ``risk.breaker`` for the ladder."""
    state = scene.breaker
    if state is _NORMAL:
        return None
    code = DenialCode.BREAKER_REDUCE_ONLY
    if state is BreakerState.HALTED:
        code = DenialCode.BREAKER_HALTED
    elif state is BreakerState.CANCEL and intent.order_type is not OrderType.IOC:
        code = DenialCode.BREAKER_CANCEL
    elif intent.reduce_only:
        return None
    return Denial(code=code, limit=0.0, observed=float(state), detail=f"breaker {state.name}")


def truly_reduces(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny a reduce-only order that could do anything but bring the position closer to flat.

    All working lots of the closing side count, reduce-only or not: what they may close already,
    this order cannot close again, whatever the venue's own flag does.
    """
    position = scene.position_lots
    if position == 0:
        return _not_reducing(DenialCode.REDUCE_FROM_FLAT, intent, 0)
    if (position > 0) == (intent.side is Side.BUY):
        return _not_reducing(DenialCode.REDUCE_WRONG_SIDE, intent, 0)
    closing = scene.sell_lots if position > 0 else scene.buy_lots
    left = max(0, abs(position) - closing)
    if intent.quantity_lots > left:
        return _not_reducing(DenialCode.REDUCE_TOO_LARGE, intent, left)
    return None


def lots_filter(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny quantities that the venue's own filter would reject."""
    instrument = scene.instruments[intent.instrument]
    if instrument.lots_min <= intent.quantity_lots <= instrument.lots_max:
        return None
    is_small = intent.quantity_lots < instrument.lots_min
    limit = instrument.lots_min if is_small else instrument.lots_max
    return beyond(DenialCode.LOTS_FILTER, limit, intent.quantity_lots, "lots, venue filter")


def notional_filter(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk below the venue's smallest notional; the venue exempts reductions."""
    at = intent.instrument
    limit_e8 = scene.instruments[at].notional_min_quote_e8
    notional_e8 = intent.quantity_lots * intent.price_ticks * scene.tick_lot_quote_e8[at]
    if notional_e8 >= limit_e8:
        return None
    detail = "quote, venue filter"
    return beyond(DenialCode.NOTIONAL_FILTER, limit_e8 / E8, notional_e8 / E8, detail)


def feed_ok(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk on a feed whose integrity is not proven."""
    if scene.verdict is _FEED_OK:
        return None
    return beyond(DenialCode.FEED_NOT_OK, 0, 0, f"feed verdict {scene.verdict!r}")


def model_ok(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk unless the models' judgement of this instrument is proven usable."""
    model, at = scene.model, intent.instrument
    verdict = model[at] if model is not None and at < len(model) else ModelVerdict.ABSENT
    if verdict is _MODEL_OK:
        return None
    return beyond(
        DenialCode.MODEL_NOT_OK, 0, 0, f"model verdict {getattr(verdict, 'name', verdict)}"
    )


def price_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk without a two-sided, uncrossed quote with something displayed."""
    bid_ticks, ask_ticks = scene.bid_ticks, scene.ask_ticks
    if 0 < bid_ticks < ask_ticks and scene.bid_lots and scene.ask_lots:
        return None
    detail = f"no usable price: bid {bid_ticks}, ask {ask_ticks} ticks"
    return beyond(DenialCode.QUOTE_MISSING, 0, 0, detail)


def last_price_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny a reduction without any price at all, quote or mark, however old."""
    if (scene.bid_ticks and scene.ask_ticks) or scene.mark_ticks:
        return None
    return beyond(DenialCode.QUOTE_MISSING, 0, 0, "no price was ever known")


def quote_fresh(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk on an old quote; one stamped later than now proves nothing either."""
    received_ns = scene.quote_received_ns
    age_ns = scene.now_ns - received_ns
    if received_ns and 0 <= age_ns <= scene.bounds.quote_age_ns:
        return None
    limit_ms = scene.limits.quote_age_ms_max
    return beyond(DenialCode.QUOTE_STALE, limit_ms, age_ns / NS_PER_MS, "ms, age of the quote")


def collar_mid(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny a price too far from the middle of the newest quote, on either side."""
    bid_ticks, ask_ticks = scene.bid_ticks, scene.ask_ticks
    if not (bid_ticks and ask_ticks):
        return None  # new risk was denied by price_known; a reduction is held by its own collar
    # twice the mid, to stay with whole numbers
    price, reference = 2 * intent.price_ticks, bid_ticks + ask_ticks
    if abs(price - reference) * BPS_PER_UNIT <= scene.bounds.price_collar_bps * reference:
        return None
    return _outside_collar(DenialCode.COLLAR_MID, price, reference, scene)


def collar_mark(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk priced too far from the mark."""
    price, reference = intent.price_ticks, scene.mark_ticks
    if not reference:
        return None  # denied by marks_known
    if abs(price - reference) * BPS_PER_UNIT <= scene.bounds.price_collar_bps * reference:
        return None
    return _outside_collar(DenialCode.COLLAR_MARK, price, reference, scene)


def last_collar_mark(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny a reduction priced too far from the mark where there is no quote to hold it against."""
    if scene.bid_ticks and scene.ask_ticks:
        return None
    return collar_mark(intent, scene)


def no_self_trade(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny a price at which the order could trade with an order of our own that rests.

    Cancel that one first. Only FLATTEN is worth a trade with ourselves: it may not wait.
    """
    if intent.side > 0:
        own_ticks = scene.resting_sell_ticks
        crosses = own_ticks and intent.price_ticks >= own_ticks
    else:
        own_ticks = scene.resting_buy_ticks
        crosses = own_ticks and intent.price_ticks <= own_ticks
    if not crosses or (scene.breaker is BreakerState.FLATTEN and intent.reduce_only):
        return None
    detail = "ticks, our own order rests at the limit"
    return beyond(DenialCode.SELF_TRADE, own_ticks, intent.price_ticks, detail)


def depth_share(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk that is too large a part of what the other side of the book displays."""
    depth_lots = scene.ask_depth_lots if intent.side > 0 else scene.bid_depth_lots
    limit = scene.bounds.order_depth_frac
    if intent.quantity_lots <= limit * depth_lots:
        return None
    observed = intent.quantity_lots / depth_lots if depth_lots else float("inf")
    return beyond(DenialCode.DEPTH_SHARE, limit, observed, "share of the visible depth")


def day_volume_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk while nobody has lately said how much of this is traded in a day."""
    received_ns = scene.day_volume_received_ns
    age_ns = scene.now_ns - received_ns
    if received_ns and 0 <= age_ns <= scene.bounds.day_volume_age_ns:
        return None
    limit_ms = scene.limits.day_volume_age_ms_max
    detail = "ms, age of the day's volume"
    return beyond(DenialCode.DAY_VOLUME_STALE, limit_ms, age_ns / NS_PER_MS, detail)


def day_volume_share(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk that is too large a part of what is traded in a day (RTS 6, 15(1)(c))."""
    volume_lots, limit = scene.day_volume_lots, scene.bounds.order_day_volume_frac
    if intent.quantity_lots <= limit * volume_lots:
        return None
    observed = intent.quantity_lots / volume_lots if volume_lots else float("inf")
    return beyond(DenialCode.DAY_VOLUME_SHARE, limit, observed, "share of the day's volume")


def fate_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk on an instrument while the fate of one of its orders is UNKNOWN."""
    if scene.unknown_count == 0:
        return None
    detail = "orders of unknown fate are open"
    return beyond(DenialCode.UNKNOWN_ORDER, 0, scene.unknown_count, detail)


def not_duplicate(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny the same side, price and quantity again within the window, reductions included."""
    approved_ns = scene.memory.approved_ns_by_key.get(scene.duplicate_key)
    if approved_ns is None or scene.now_ns - approved_ns >= scene.bounds.duplicate_window_ns:
        return None
    window_ms = scene.limits.duplicate_window_ms
    age_ms = (scene.now_ns - approved_ns) / NS_PER_MS
    return beyond(DenialCode.DUPLICATE, window_ms, age_ms, "ms since the same order")


def message_budget(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny when the bucket is empty; only reductions (and cancels) may use its reserve."""
    throttle = scene.memory.throttle
    kept_nano = 0 if intent.reduce_only else throttle.reserve_nano
    if throttle.level_nano - kept_nano >= NANO:
        return None
    room = throttle.room(may_use_reserve=intent.reduce_only)
    return beyond(DenialCode.MESSAGE_BUDGET, 1, room, "messages left")


def shape_denial(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Ask what every intent must pass before anything else is read."""
    return (
        instrument_known(intent, scene)
        or well_formed(intent, scene)
        or sequence_fresh(intent, scene)
    )


def new_risk_denial(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Ask every check of new risk; what makes later ones meaningful comes first."""
    return (
        breaker_permits(intent, scene)
        or lots_filter(intent, scene)
        or notional_filter(intent, scene)
        or feed_ok(intent, scene)
        or model_ok(intent, scene)
        or agents_armed(intent, scene)
        or price_known(intent, scene)
        or quote_fresh(intent, scene)
        or marks_known(intent, scene)
        or marks_fresh(intent, scene)
        or collar_mid(intent, scene)
        or collar_mark(intent, scene)
        or no_self_trade(intent, scene)
        or fate_known(intent, scene)
        or equity_known(intent, scene)
        or order_notional(intent, scene)
        or depth_share(intent, scene)
        or day_volume_known(intent, scene)
        or day_volume_share(intent, scene)
        or position_notional(intent, scene)
        or gross_notional(intent, scene)
        or net_notional(intent, scene)
        or leverage(intent, scene)
        or margin(intent, scene)
        or daily_loss(intent, scene)
        or drawdown(intent, scene)
        or not_duplicate(intent, scene)
        or message_budget(intent, scene)
    )


def reduction_denial(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Ask what holds a reduction back; nothing that is missing does, if it is provably one."""
    return (
        breaker_permits(intent, scene)
        or truly_reduces(intent, scene)
        or lots_filter(intent, scene)
        or last_price_known(intent, scene)
        or collar_mid(intent, scene)
        or last_collar_mark(intent, scene)
        or no_self_trade(intent, scene)
        or not_duplicate(intent, scene)
        or message_budget(intent, scene)
    )


def _malformed(detail: str) -> Denial:
    return beyond(DenialCode.MALFORMED, 0, 0, detail)


def _not_reducing(code: DenialCode, intent: OrderIntent, left_lots: int) -> Denial:
    return beyond(code, left_lots, intent.quantity_lots, "lots left to close")


def _outside_collar(code: DenialCode, price: int, reference: int, scene: Scene) -> Denial:
    away_bps = abs(price - reference) * BPS_PER_UNIT / reference
    return beyond(code, scene.limits.price_collar_bps, away_bps, "bps, price against reference")
