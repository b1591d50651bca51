"""What the spot account holds: a free and a locked amount of every asset, in 1e-8 of the asset."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.simulated import spot_errors
from daemon.simulated.spot_listings import QUOTE_ASSET, base_asset
from kernels.events import Side
from kernels.units import E8, Instrument


class Holdings:
    """Balances; nothing is ever borrowed, so no amount falls below zero."""

    def __init__(self, instruments: Iterable[Instrument], quote_e8: int) -> None:
        """Open with a free amount of the quote asset and nothing of the bases."""
        assets = [QUOTE_ASSET, *(base_asset(instrument) for instrument in instruments)]
        self.free_e8 = dict.fromkeys(assets, 0)
        self.locked_e8 = dict.fromkeys(assets, 0)
        self.free_e8[QUOTE_ASSET] = quote_e8
        self.fees_e8 = dict.fromkeys(assets, 0)
        self.updated_ms = 0

    @property
    def assets(self) -> tuple[str, ...]:
        """Every asset of the account, quote first."""
        return tuple(self.free_e8)

    def lock(self, asset: str, amount_e8: int) -> None:
        """Set an amount aside for an order (-2010 when it is not free)."""
        if amount_e8 > self.free_e8[asset]:
            raise spot_errors.insufficient_balance()
        self.free_e8[asset] -= amount_e8
        self.locked_e8[asset] += amount_e8

    def unlock(self, asset: str, amount_e8: int) -> None:
        """Give back what an order does not need any more."""
        self.locked_e8[asset] -= amount_e8
        self.free_e8[asset] += amount_e8

    def exchange(
        self,
        instrument: Instrument,
        side: Side,
        lots: int,
        quote_e8: int,
        fee_e8: int,
        now_ms: int,
    ) -> None:
        """Book one execution against free amounts; the fee comes off what is received."""
        base, base_e8 = base_asset(instrument), lots * instrument.lot_size_e8
        self.free_e8[base] += base_e8 * side
        self.free_e8[QUOTE_ASSET] -= quote_e8 * side
        asset = fee_asset(instrument, side)
        self.free_e8[asset] -= fee_e8
        self.fees_e8[asset] += fee_e8
        self.updated_ms = now_ms


def lock_of(instrument: Instrument, side: Side, price_ticks: int, lots: int) -> tuple[str, int]:
    """Return asset and amount that an order of these open lots sets aside."""
    if side is Side.BUY:
        return QUOTE_ASSET, instrument.notional_quote_e8(price_ticks, lots)
    return base_asset(instrument), lots * instrument.lot_size_e8


def fee_asset(instrument: Instrument, side: Side) -> str:
    """Name the asset in which the venue takes its commission: the one that is received."""
    return base_asset(instrument) if side is Side.BUY else QUOTE_ASSET


def fee_e8(instrument: Instrument, side: Side, lots: int, quote_e8: int, *, is_maker: bool) -> int:
    """Return the commission of one execution in ``fee_asset``, rounded down."""
    fee_frac = instrument.maker_fee_frac if is_maker else instrument.taker_fee_frac
    received_e8 = lots * instrument.lot_size_e8 if side is Side.BUY else quote_e8
    return received_e8 * round(fee_frac * E8) // E8
