"""One step of many trading worlds as compiled loops: orders, fills, fees, funding, restarts.

Every world folds the one ledger of the house (``kernels.ledger``) with integer fills, so that its
equity is to the last 1e-8 what the daemon would book for the same fills. Worlds share the tape and
nothing else; what one draws depends on the seed, its own number and its episode alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kernels import ledger
from kernels.jit import borrow, njit

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

E8 = 100_000_000
TICK_LOT_E8 = 100
"""Value of one lot at one tick: a position of 10,000 quote is about a hundred thousand lots."""

BAR, STEPS, EPISODE, EQUITY = range(4)
WALK_COUNT = 4
"""Columns of ``walk_W4``: row of the tape, steps of the episode, episodes begun, equity in 1e-8."""

FEE, HALF_SPREAD, SLIPPAGE, HALF_TICKS, FUNDING, POSITION_FRAC, IS_SHORT, DELAY = range(8)
EPISODE_BARS, RUIN_FRAC, WALLET_E8, NOTIONAL_MIN_E8, FACTOR_MIN, FACTOR_SPAN, SEED = range(8, 15)
RULE_COUNT = 15
"""Slots of ``rules_15``; fractions but where the name says otherwise."""

ROW = ledger.TOTALS_COUNT
LEDGER_COUNT = ledger.TOTALS_COUNT + ledger.ROW_COUNT
MASK = 0x7FFFFFFF


@njit
def scramble(number: int) -> int:
    """Return a number below 2**31 that depends on every bit of one below 2**31."""
    number ^= number >> 16
    number = (number * 0x45D9F3B) & MASK
    number ^= number >> 15
    number = (number * 0x3335B369) & MASK
    return number ^ (number >> 16)


@njit
def drawn_frac(seed: int, world: int, episode: int, stream: int) -> float:
    """Return an even draw from [0, 1), a pure function of its arguments."""
    number = scramble((seed + 0x1E3779B9) & MASK)
    number = scramble((number + world + 0x3C6EF372) & MASK)
    number = scramble((number + episode + 0x5A54F9B1) & MASK)
    number = scramble((number + stream + 0x78DDE6E4) & MASK)
    return float(number / (MASK + 1.0))


@njit
def fee_e8(notional_e8: int, fee_frac_e8: int) -> int:
    """Return the fee of a notional, cut to whole 1e-8 as the exchange does it, without overflow."""
    return (notional_e8 // E8) * fee_frac_e8 + (notional_e8 % E8) * fee_frac_e8 // E8


@njit
def trade(
    state_S: Ints,
    wanted: int,
    price_ticks: int,
    half_tick_frac: float,
    rules_15: Floats,
    factor: float,
) -> None:
    """Change one account's position to short, flat or long (-1, 0, 1), a whole one of equity now.

    What is held on the wanted side is left alone. A buyer pays half the spread and slippage above
    the price, a seller gets as much less; an order below the smallest notional is not sent. Half a
    spread is at least ``HALF_TICKS`` times ``half_tick_frac``, half the market's price step.
    """
    position = state_S[ROW + ledger.POSITION]
    if wanted == np.sign(position):
        return
    lot_e8 = price_ticks * state_S[ROW + ledger.TICK_LOT]
    lots = int(rules_15[POSITION_FRAC] * max(ledger.equity_e8(state_S), 0) / lot_e8)
    change = wanted * lots - position
    if change == 0 or abs(change) * lot_e8 < rules_15[NOTIONAL_MIN_E8]:
        return
    half_frac = max(rules_15[HALF_SPREAD], rules_15[HALF_TICKS] * half_tick_frac)
    adverse = int(np.rint(price_ticks * (half_frac + rules_15[SLIPPAGE]) * factor))
    paid_ticks = max(price_ticks + adverse * np.sign(change), 1)
    notional_e8 = abs(change) * paid_ticks * state_S[ROW + ledger.TICK_LOT]
    fee = fee_e8(notional_e8, int(np.rint(rules_15[FEE] * factor * E8)))
    ledger.fold_fill(state_S, 0, change, paid_ticks, fee)


@njit
def restart(
    world: int,
    price_ticks_T: Ints,
    state_S: Ints,
    walk_4: Ints,
    pending_D: Ints,
    rules_15: Floats,
    first_bar: int,
) -> float:
    """Open a new episode, flat, at a row, -1 a drawn one; return the factor on its costs."""
    walk_4[EPISODE] += 1
    seed, episode = int(rules_15[SEED]), walk_4[EPISODE]
    last = max(price_ticks_T.shape[0] - 1 - int(rules_15[EPISODE_BARS]), 0)
    walk_4[BAR] = first_bar
    if first_bar < 0:
        walk_4[BAR] = int(drawn_frac(seed, world, episode, 0) * (last + 1))
    walk_4[STEPS] = 0
    walk_4[EQUITY] = int(rules_15[WALLET_E8])
    pending_D[:] = 0
    state_S[:] = 0
    state_S[ledger.OPENING] = state_S[ledger.PEAK] = walk_4[EQUITY]
    state_S[ledger.DAY_START] = walk_4[EQUITY]
    state_S[ledger.DAY] = -1
    state_S[ROW + ledger.TICK_LOT] = TICK_LOT_E8
    ledger.fold_mark(state_S, 0, price_ticks_T[walk_4[BAR]])
    return float(rules_15[FACTOR_MIN] + rules_15[FACTOR_SPAN] * drawn_frac(seed, world, episode, 1))


@njit
def observe(rows_TM: Floats32, bar: int, position: int, out_F: Floats32) -> None:
    """Write what an agent sees at a row: the market, then its own position, one-hot."""
    width = rows_TM.shape[1]
    for m in range(width):
        out_F[m] = rows_TM[bar, m]
    for f in range(width, out_F.shape[0]):
        out_F[f] = 0.0
    out_F[width + 1 + np.sign(position)] = 1.0


@njit
def advance(
    price_ticks_T: Ints,
    half_tick_T: Floats,
    crossings_T: Ints,
    action: int,
    state_S: Ints,
    walk_4: Ints,
    pending_D: Ints,
    rules_15: Floats,
    factor: float,
) -> tuple[float, bool, bool]:
    """Trade at the close of a bar and hold through the next; return reward, terminated, truncated.

    The reward is the change of equity over equity. An order is filled ``DELAY`` bars after its
    decision. Below the share ``RUIN_FRAC`` of the opening equity the position is closed at its
    costs and nothing follows; at the episode's or the tape's end it is only cut off.
    """
    wanted = action - 1
    if wanted < 0 and rules_15[IS_SHORT] == 0.0:
        wanted = 0
    delay = int(rules_15[DELAY])
    if delay > 0:
        slot = walk_4[STEPS] % delay
        due = pending_D[slot]
        pending_D[slot] = wanted
        wanted = due
    bar = walk_4[BAR]
    trade(state_S, wanted, price_ticks_T[bar], half_tick_T[bar], rules_15, factor)
    price_ticks = price_ticks_T[bar + 1]
    ledger.fold_mark(state_S, 0, price_ticks)
    position = state_S[ROW + ledger.POSITION]
    if position != 0 and crossings_T[bar] > 0:
        worth_e8 = float(position * price_ticks * state_S[ROW + ledger.TICK_LOT])
        owed_e8 = worth_e8 * rules_15[FUNDING] * factor * crossings_T[bar]
        ledger.fold_funding(state_S, -int(np.rint(owed_e8)))
    walk_4[BAR] = bar + 1
    walk_4[STEPS] += 1
    equity = ledger.equity_e8(state_S)
    is_ruined = equity <= rules_15[RUIN_FRAC] * rules_15[WALLET_E8]
    if is_ruined:
        trade(state_S, 0, price_ticks, half_tick_T[bar + 1], rules_15, factor)
        equity = ledger.equity_e8(state_S)
    reward = (equity - walk_4[EQUITY]) / walk_4[EQUITY]
    walk_4[EQUITY] = equity
    is_over = walk_4[STEPS] >= rules_15[EPISODE_BARS] or bar + 2 >= price_ticks_T.shape[0]
    return float(reward), is_ruined, is_over and not is_ruined


@njit
def reset_worlds(
    rows_TM: Floats32,
    price_ticks_T: Ints,
    state_WS: Ints,
    walk_W4: Ints,
    pending_WD: Ints,
    factor_W: Floats,
    rules_15: Floats,
    first_bar: int,
    obs_WF: Floats32,
) -> None:
    """Open an episode in every world and write what is seen there; ``first_bar`` -1: drawn."""
    for w in range(state_WS.shape[0]):
        factor_W[w] = restart(
            w, price_ticks_T, state_WS[w], walk_W4[w], pending_WD[w], rules_15, first_bar
        )
        observe(rows_TM, walk_W4[w, BAR], 0, obs_WF[w])


@njit
def are_below(number_W: Ints, end: int) -> bool:
    """Return whether all numbers lie in [0, end)."""
    return bool(number_W.min() >= 0 and number_W.max() < end)


@njit
def step_worlds(
    rows_TM: Floats32,
    price_ticks_T: Ints,
    half_tick_T: Floats,
    crossings_T: Ints,
    action_W: Ints,
    state_WS: Ints,
    walk_W4: Ints,
    pending_WD: Ints,
    factor_W: Floats,
    rules_15: Floats,
    obs_WF: Floats32,
    final_WF: Floats32,
    reward_W: Floats,
    terminated_W: Flags,
    truncated_W: Flags,
) -> None:
    """Move every world one bar; one that is done shows its last state in ``final_WF``, restarts."""
    state_WS, walk_W4, pending_WD = borrow(state_WS), borrow(walk_W4), borrow(pending_WD)
    rows_TM, obs_WF, final_WF = borrow(rows_TM), borrow(obs_WF), borrow(final_WF)
    for w in range(action_W.shape[0]):
        reward, is_ruined, is_over = advance(
            price_ticks_T,
            half_tick_T,
            crossings_T,
            action_W[w],
            state_WS[w],
            walk_W4[w],
            pending_WD[w],
            rules_15,
            factor_W[w],
        )
        reward_W[w], terminated_W[w], truncated_W[w] = reward, is_ruined, is_over
        position = state_WS[w, ROW + ledger.POSITION]
        if is_ruined or is_over:
            observe(rows_TM, walk_W4[w, BAR], position, final_WF[w])
            factor_W[w] = restart(
                w, price_ticks_T, state_WS[w], walk_W4[w], pending_WD[w], rules_15, -1
            )
            position = 0
        observe(rows_TM, walk_W4[w, BAR], position, obs_WF[w])
