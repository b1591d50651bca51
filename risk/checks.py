"""One function per limit: ``check(intent, scene) -> Denial | None``; ``CHECKS`` is their order.

A check answers for one thing only and is skipped by nobody: what does not apply to a reduction is
said inside. Whoever adds a limit adds a function here, and a test that fails without it.
"""

from __future__ import annotations

from collections.abc import Callable

from kernels.events import OrderIntent, OrderType, Side, Verdict
from kernels.units import BPS_PER_UNIT, E8
from risk.breaker import NS_PER_MS, BreakerState
from risk.reasons import Denial, DenialCode
from risk.scene import Scene, duplicate_key, whole

Check = Callable[[OrderIntent, Scene], Denial | None]


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
    """Deny prices and quantities that are not positive whole numbers, and wrong enums."""
    for name in ("price_ticks", "quantity_lots"):
        number = getattr(intent, name)
        if type(number) is not int or number <= 0:
            return _malformed(f"{name} is {number!r}")
    if not isinstance(intent.side, Side) or not isinstance(intent.order_type, OrderType):
        return _malformed(f"side {intent.side!r}, order type {intent.order_type!r}")
    if type(intent.reduce_only) is not bool:
        return _malformed(f"reduce_only is {intent.reduce_only!r}")
    return None


def sequence_fresh(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny a sequence not above every approved one: it would reuse a client order id."""
    if type(intent.sequence) is int and intent.sequence > scene.last_sequence:
        return None
    return Denial(
        code=DenialCode.SEQUENCE_REUSED,
        limit=float(scene.last_sequence + 1),
        observed=0.0,
        detail=f"sequence {intent.sequence!r}, lowest free {scene.last_sequence + 1}",
    )


def breaker_permits(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny what the breaker's state does not permit; see ``risk.breaker`` for the ladder."""
    state = scene.breaker
    if state is BreakerState.NORMAL:
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
    if not intent.reduce_only:
        return None
    position = scene.account.position_lots[intent.instrument]
    if position == 0:
        return _not_reducing(DenialCode.REDUCE_FROM_FLAT, intent, 0)
    if (position > 0) == (intent.side is Side.BUY):
        return _not_reducing(DenialCode.REDUCE_WRONG_SIDE, intent, 0)
    closing = scene.sell_lots if position > 0 else scene.buy_lots
    left = max(0, abs(position) - closing[intent.instrument])
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
    return _over(DenialCode.LOTS_FILTER, limit, intent.quantity_lots, "lots, venue filter")


def notional_filter(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk below the venue's smallest notional; it exempts reduce-only orders."""
    instrument = scene.instruments[intent.instrument]
    lot_quote_e8 = intent.price_ticks * scene.tick_lot_quote_e8[intent.instrument]
    notional_e8 = intent.quantity_lots * lot_quote_e8
    if intent.reduce_only or notional_e8 >= instrument.notional_min_quote_e8:
        return None
    limit = instrument.notional_min_quote_e8 / E8
    return _over(DenialCode.NOTIONAL_FILTER, limit, notional_e8 / E8, "quote, venue filter")


def feed_ok(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk on a feed whose integrity is not proven."""
    verdict = scene.market.verdict[intent.instrument]
    if intent.reduce_only or verdict is Verdict.OK:
        return None
    return Denial(
        code=DenialCode.FEED_NOT_OK, limit=0.0, observed=0.0, detail=f"feed verdict {verdict!r}"
    )


def price_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk without a two-sided, uncrossed quote; a reduction without any price at all."""
    bid_ticks, ask_ticks, mark_ticks = scene.prices(intent.instrument)
    if intent.reduce_only:
        is_known = (bid_ticks > 0 and ask_ticks > 0) or mark_ticks > 0
    else:
        market, at = scene.market, intent.instrument
        is_known = (
            0 < bid_ticks < ask_ticks
            and whole(market.bid_lots[at]) > 0
            and whole(market.ask_lots[at]) > 0
        )
    if is_known:
        return None
    detail = f"no usable price: bid {bid_ticks}, ask {ask_ticks} ticks"
    return Denial(code=DenialCode.QUOTE_MISSING, limit=0.0, observed=0.0, detail=detail)


def quote_fresh(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk on an old quote; one stamped later than now proves nothing either."""
    if intent.reduce_only:
        return None
    received_ns = whole(scene.market.quote_received_ns[intent.instrument])
    age_ns, limit_ms = scene.now_ns - received_ns, scene.limits.quote_age_ms_max
    if received_ns and 0 <= age_ns <= limit_ms * NS_PER_MS:
        return None
    return _over(DenialCode.QUOTE_STALE, limit_ms, age_ns / NS_PER_MS, "ms, age of the quote")


def marks_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk unless this and every exposed instrument has a mark price."""
    if intent.reduce_only:
        return None
    for at, lots in enumerate(scene.worst_lots):
        if at != intent.instrument and not lots:
            continue
        if not scene.prices(at)[2]:
            return _over(DenialCode.MARK_MISSING, 0, 0, f"no mark of instrument {at}")
    return None


def marks_fresh(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk while this or any exposed instrument is valued at an old mark price."""
    if intent.reduce_only:
        return None
    limit_ms = scene.limits.mark_age_ms_max
    for at, lots in enumerate(scene.worst_lots):
        if at != intent.instrument and not lots:
            continue
        received_ns = whole(scene.market.mark_received_ns[at])
        age_ns = scene.now_ns - received_ns
        if not (received_ns and 0 <= age_ns <= limit_ms * NS_PER_MS):
            age_ms = age_ns / NS_PER_MS
            return _over(DenialCode.MARK_STALE, limit_ms, age_ms, f"ms, mark of instrument {at}")
    return None


def collar_mid(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny a price too far from the middle of the newest quote, on either side."""
    bid_ticks, ask_ticks, _ = scene.prices(intent.instrument)
    if not (bid_ticks and ask_ticks):
        return None  # new risk was denied by price_known; a reduction is held by collar_mark
    # twice the mid, to stay with whole numbers
    return _collar(DenialCode.COLLAR_MID, 2 * intent.price_ticks, bid_ticks + ask_ticks, scene)


def collar_mark(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk priced too far from the mark; a reduction only where there is no quote."""
    bid_ticks, ask_ticks, mark_ticks = scene.prices(intent.instrument)
    if not mark_ticks or (intent.reduce_only and bid_ticks and ask_ticks):
        return None  # new risk without a mark was denied by marks_known
    return _collar(DenialCode.COLLAR_MARK, intent.price_ticks, mark_ticks, scene)


def fate_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk on an instrument while the fate of one of its orders is UNKNOWN."""
    is_open = scene.has_unknown[intent.instrument]
    if intent.reduce_only or (is_open is not None and not is_open):
        return None
    return _over(DenialCode.UNKNOWN_ORDER, 0, 1, "an order of unknown fate is open")


def equity_known(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk without positive equity, or with a position the ledger could never value."""
    if intent.reduce_only:
        return None
    for at, lots in enumerate(scene.account.position_lots):
        if lots and not scene.account.mark_ticks[at]:
            return _over(DenialCode.EQUITY_MISSING, 0, 0, f"position {at} was never valued")
    equity_e8 = scene.account.equity_quote_e8
    if equity_e8 > 0:
        return None
    return _over(DenialCode.EQUITY_MISSING, 0, equity_e8 / E8, "quote, equity")


def order_notional(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny a single order of new risk that is too large."""
    if intent.reduce_only:
        return None
    scene.weigh(intent)
    value_e8 = scene.asked_value_e8
    limit = scene.limits.order_notional_quote_max
    if value_e8 <= limit * E8:
        return None
    return _over(DenialCode.ORDER_NOTIONAL, limit, value_e8 / E8, "quote, one order")


def position_notional(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk when the instrument's worst position would be too large."""
    limit = scene.limits.position_notional_quote_max
    if intent.reduce_only:
        return None
    scene.weigh(intent)
    worst_e8 = scene.asked_worst_e8
    if worst_e8 <= limit * E8:
        return None
    return _over(DenialCode.POSITION_NOTIONAL, limit, worst_e8 / E8, "quote, worst position")


def gross_notional(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk when the worst positions together would be too large."""
    limit = scene.limits.gross_notional_quote_max
    if intent.reduce_only:
        return None
    scene.weigh(intent)
    gross_e8 = scene.asked_gross_e8
    if gross_e8 <= limit * E8:
        return None
    return _over(DenialCode.GROSS_NOTIONAL, limit, gross_e8 / E8, "quote, worst gross")


def leverage(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk when worst gross notional over equity would be too high."""
    limit = scene.limits.leverage_max
    if intent.reduce_only:
        return None
    scene.weigh(intent)
    gross_e8, equity_e8 = scene.asked_gross_e8, scene.account.equity_quote_e8
    if gross_e8 <= limit * equity_e8:
        return None
    observed = gross_e8 / equity_e8 if equity_e8 > 0 else float("inf")
    return _over(DenialCode.LEVERAGE, limit, observed, "worst gross over equity")


def daily_loss(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk once the day has lost its share, marked to market."""
    limit, observed = scene.limits.daily_loss_frac_max, scene.account.day_loss_frac
    if intent.reduce_only or observed < limit:
        return None
    return _over(DenialCode.DAILY_LOSS, limit, observed, "share of the day's first equity")


def drawdown(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny new risk once the loss from the peak of equity is too large, marked to market."""
    limit, observed = scene.limits.drawdown_frac_max, scene.account.drawdown_frac
    if intent.reduce_only or observed < limit:
        return None
    return _over(DenialCode.DRAWDOWN, limit, observed, "share of the peak of equity")


def not_duplicate(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny the same side, price and quantity again within the window, reductions included."""
    window_ms = scene.limits.duplicate_window_ms
    approved_ns = scene.approved_ns_by_key.get(duplicate_key(intent))
    if approved_ns is None or scene.now_ns - approved_ns >= window_ms * NS_PER_MS:
        return None
    age_ms = (scene.now_ns - approved_ns) / NS_PER_MS
    return _over(DenialCode.DUPLICATE, window_ms, age_ms, "ms since the same order")


def message_budget(intent: OrderIntent, scene: Scene) -> Denial | None:
    """Deny when the bucket is empty; only reductions (and cancels) may use its reserve."""
    room = scene.throttle.room(may_use_reserve=intent.reduce_only)
    if room >= 1.0:
        return None
    return _over(DenialCode.MESSAGE_BUDGET, 1, room, "messages left")


CHECKS: tuple[Check, ...] = (
    instrument_known,
    well_formed,
    sequence_fresh,
    breaker_permits,
    truly_reduces,
    lots_filter,
    notional_filter,
    feed_ok,
    price_known,
    quote_fresh,
    marks_known,
    marks_fresh,
    collar_mid,
    collar_mark,
    fate_known,
    equity_known,
    order_notional,
    position_notional,
    gross_notional,
    leverage,
    daily_loss,
    drawdown,
    not_duplicate,
    message_budget,
)
"""Every check in the order of asking: what makes later ones meaningful comes first."""


def _over(code: DenialCode, limit: float, observed: float, detail: str) -> Denial:
    return Denial(code=code, limit=float(limit), observed=float(observed), detail=detail)


def _malformed(detail: str) -> Denial:
    return Denial(code=DenialCode.MALFORMED, limit=0.0, observed=0.0, detail=detail)


def _not_reducing(code: DenialCode, intent: OrderIntent, left_lots: int) -> Denial:
    return _over(code, left_lots, intent.quantity_lots, "lots left to close")


def _collar(code: DenialCode, price: int, reference: int, scene: Scene) -> Denial | None:
    limit_bps = scene.limits.price_collar_bps
    away = abs(price - reference) * BPS_PER_UNIT
    if away <= limit_bps * reference:
        return None
    return _over(code, limit_bps, away / reference, "bps, price against reference")
