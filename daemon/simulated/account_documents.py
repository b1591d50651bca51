"""Account and positions as the venue's JSON documents: REST answers and user-stream events."""

from __future__ import annotations

from collections.abc import Iterable

from daemon.simulated.accounts import LEVERAGE_MAX, MAINTENANCE_E8, Account
from daemon.simulated.venue_market import VenueMarket
from daemon.simulated.wire_text import ASSET, quantity_wire
from kernels.units import from_e8

Document = dict[str, object]
NOTIONAL_CAP = 1_000_000_000


def account_event(
    account: Account,
    markets: Iterable[VenueMarket],
    reason: str,
    now_ms: int,
    change_e8: int = 0,
) -> Document:
    """Render ACCOUNT_UPDATE with the wallet and the positions of ``markets``.

    ``change_e8`` is the balance change apart from profit and commission, such as funding.
    """
    wallet = from_e8(account.ledger.wallet_quote_e8)
    return {
        "e": "ACCOUNT_UPDATE",
        "E": now_ms,
        "T": now_ms,
        "a": {
            "m": reason,
            "B": [{"a": ASSET, "wb": wallet, "cw": wallet, "bc": from_e8(change_e8)}],
            "P": [
                {
                    "s": market.instrument.venue_id,
                    "pa": quantity_wire(
                        market.instrument, account.position_lots(market.instrument.index)
                    ),
                    "ep": from_e8(account.entry_price_e8(market.instrument.index)),
                    "bep": from_e8(account.entry_price_e8(market.instrument.index)),
                    "cr": from_e8(account.realised_e8[market.instrument.index]),
                    "up": from_e8(account.unrealised_e8(market.instrument.index)),
                    "mt": "cross",
                    "iw": "0",
                    "ps": "BOTH",
                }
                for market in markets
            ],
        },
    }


def margin_call(account: Account, markets: Iterable[VenueMarket], now_ms: int) -> Document:
    """Render MARGIN_CALL with every open position of ``markets``."""
    return {
        "e": "MARGIN_CALL",
        "E": now_ms,
        "cw": from_e8(account.ledger.wallet_quote_e8),
        "p": [
            {
                "s": market.instrument.venue_id,
                "ps": "BOTH",
                "pa": quantity_wire(market.instrument, account.position_lots(index)),
                "mt": "CROSSED",
                "iw": "0",
                "mp": from_e8(market.mark_e8),
                "up": from_e8(account.unrealised_e8(index)),
                "mm": from_e8(account.maintenance_margin_e8(index)),
            }
            for market in markets
            if account.position_lots(index := market.instrument.index)
        ],
    }


def position_document(account: Account, market: VenueMarket, version: int) -> Document:
    """Render one row of positionRisk; version 2 also tells leverage and margin type."""
    index = market.instrument.index
    margin_e8 = account.initial_margin_e8(index)
    position_margin_e8 = account.position_margin_e8(index)
    document: Document = {
        "symbol": market.instrument.venue_id,
        "positionSide": "BOTH",
        "positionAmt": quantity_wire(market.instrument, account.position_lots(index)),
        "entryPrice": from_e8(account.entry_price_e8(index)),
        "breakEvenPrice": from_e8(account.entry_price_e8(index)),
        "markPrice": from_e8(market.mark_e8),
        "unRealizedProfit": from_e8(account.unrealised_e8(index)),
        "liquidationPrice": "0",
        "isolatedMargin": "0",
        "notional": from_e8(account.notional_e8(index)),
        "marginAsset": ASSET,
        "isolatedWallet": "0",
        "initialMargin": from_e8(margin_e8),
        "maintMargin": from_e8(account.maintenance_margin_e8(index)),
        "positionInitialMargin": from_e8(position_margin_e8),
        "openOrderInitialMargin": from_e8(max(0, margin_e8 - position_margin_e8)),
        "adl": 0,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": account.updated_ms,
    }
    if version == 2:
        document |= {
            "leverage": str(account.leverage[index]),
            "maxNotionalValue": str(NOTIONAL_CAP),
            "marginType": "cross",
            "isAutoAddMargin": "false",
        }
    return document


def account_document(
    account: Account, markets: tuple[VenueMarket, ...], now_ms: int, version: int
) -> Document:
    """Render the account call; version 3 lists only instruments with a position or an order."""
    margin = from_e8(account.margin_e8)
    maintenance_e8 = sum(account.maintenance_margin_e8(m.instrument.index) for m in markets)
    position_margin_e8 = sum(account.position_margin_e8(m.instrument.index) for m in markets)
    totals: Document = {
        "totalInitialMargin": margin,
        "totalMaintMargin": from_e8(maintenance_e8),
        "totalWalletBalance": from_e8(account.ledger.wallet_quote_e8),
        "totalUnrealizedProfit": from_e8(account.ledger.unrealised_quote_e8),
        "totalMarginBalance": from_e8(account.equity_e8),
        "totalPositionInitialMargin": from_e8(position_margin_e8),
        "totalOpenOrderInitialMargin": from_e8(account.margin_e8 - position_margin_e8),
        "totalCrossWalletBalance": from_e8(account.ledger.wallet_quote_e8),
        "totalCrossUnPnl": from_e8(account.ledger.unrealised_quote_e8),
        "availableBalance": from_e8(account.available_e8),
        "maxWithdrawAmount": from_e8(account.available_e8),
    }
    asset: Document = {
        "asset": ASSET,
        "walletBalance": from_e8(account.ledger.wallet_quote_e8),
        "unrealizedProfit": from_e8(account.ledger.unrealised_quote_e8),
        "marginBalance": from_e8(account.equity_e8),
        "maintMargin": from_e8(maintenance_e8),
        "initialMargin": margin,
        "positionInitialMargin": from_e8(position_margin_e8),
        "openOrderInitialMargin": from_e8(account.margin_e8 - position_margin_e8),
        "crossWalletBalance": from_e8(account.ledger.wallet_quote_e8),
        "crossUnPnl": from_e8(account.ledger.unrealised_quote_e8),
        "availableBalance": from_e8(account.available_e8),
        "maxWithdrawAmount": from_e8(account.available_e8),
        "marginAvailable": True,
        "updateTime": account.updated_ms or now_ms,
    }
    positions = [
        _account_position(account, market, version)
        for market in markets
        if version == 2
        or account.position_lots(market.instrument.index)
        or account.initial_margin_e8(market.instrument.index)
    ]
    document: Document = {**totals, "assets": [asset], "positions": positions}
    if version == 2:
        document |= {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": False,
            "canWithdraw": False,
            "updateTime": 0,
            "multiAssetsMargin": False,
            "tradeGroupId": -1,
        }
    return document


def balance_document(account: Account, now_ms: int) -> list[Document]:
    """Render the balance call."""
    return [
        {
            "accountAlias": "simulated",
            "asset": ASSET,
            "balance": from_e8(account.ledger.wallet_quote_e8),
            "crossWalletBalance": from_e8(account.ledger.wallet_quote_e8),
            "crossUnPnl": from_e8(account.ledger.unrealised_quote_e8),
            "availableBalance": from_e8(account.available_e8),
            "maxWithdrawAmount": from_e8(account.available_e8),
            "marginAvailable": True,
            "updateTime": account.updated_ms or now_ms,
        }
    ]


def bracket_document(market: VenueMarket) -> Document:
    """Render the leverage brackets: one bracket for every notional."""
    return {
        "symbol": market.instrument.venue_id,
        "brackets": [
            {
                "bracket": 1,
                "initialLeverage": LEVERAGE_MAX,
                "notionalCap": NOTIONAL_CAP,
                "notionalFloor": 0,
                "maintMarginRatio": MAINTENANCE_E8 / 100_000_000,
                "cum": 0.0,
            }
        ],
    }


def _account_position(account: Account, market: VenueMarket, version: int) -> Document:
    index = market.instrument.index
    document: Document = {
        "symbol": market.instrument.venue_id,
        "positionSide": "BOTH",
        "positionAmt": quantity_wire(market.instrument, account.position_lots(index)),
        "unrealizedProfit": from_e8(account.unrealised_e8(index)),
        "isolatedMargin": "0",
        "notional": from_e8(account.notional_e8(index)),
        "isolatedWallet": "0",
        "initialMargin": from_e8(account.initial_margin_e8(index)),
        "maintMargin": from_e8(account.maintenance_margin_e8(index)),
        "updateTime": account.updated_ms,
    }
    if version == 2:
        document |= {
            "entryPrice": from_e8(account.entry_price_e8(index)),
            "leverage": str(account.leverage[index]),
            "isolated": False,
            "maxNotional": str(NOTIONAL_CAP),
        }
    return document


def rights_document(now_ms: int, can_withdraw: bool) -> dict[str, object]:
    """GET /sapi/v1/account/apiRestrictions: what the account's one key may do."""
    return {
        "ipRestrict": True,
        "createTime": now_ms,
        "enableReading": True,
        "enableWithdrawals": can_withdraw,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": True,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": False,
        "enableSpotAndMarginTrading": True,
        "enablePortfolioMarginTrading": False,
    }
