"""Rows in the order of time through the compiled ensemble, many at once: the bits of one by one.

Row by row every row reads all weights, 1.1 MB, more than a core's own cache holds. Here a block of
rows goes through a layer together, four to each weight that is read. But what an agent wanted at
one row is what it holds at the next, so rows of an agent cannot simply be asked together: it is
asked as if it never moved, then again wherever it had moved, until every row was asked with what
the row before it answered. Answers hang on the market more than on the position, so two or three
rounds do, and the last of them is what asking one by one gives. Only an agent's own network sees
its position (``sees_only_itself``), so agents need not wait for each other. 12.5 us a row of the
shipped bundle, whose agents change their mind at every fourth row; row by row 19.5.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.jit import njit_contracted
from kernels.panels import PANEL_INPUTS, PANEL_OUTPUTS, PANEL_ROWS, add_panel
from strategy.compiled_kernel import (
    ACTION_COUNT,
    DUELING_COUNT,
    HEAD_NET_COUNT,
    INPUT_BLOCK,
    PANEL,
    VALUE_COUNT,
    Matrix,
    Vector,
    Widths,
    hyperbolic_tangent,
    mean_atoms,
    normalise_and_rectify,
    padded,
    rectify,
    take_minimum,
    vote,
    write_posterior,
)
from strategy.observation import FLAT

BLOCK_ROWS = 32
"""Rows that are asked together; a whole number of panels' rows."""

D3QN, DOUBLE, TWIN, PPO, RAINBOW = range(5)
"""Places of the standard agents; the value networks are d3qn, twin a, twin b, rainbow, double."""

Rows = NDArray[np.int64]


class Places(NamedTuple):
    """Where in the flat weights each part begins, and how long one network's share of it is."""

    held: int
    second: int
    second_length: int
    head: int
    head_length: int
    dueling: int
    dueling_length: int
    atoms: int
    double: int
    actor: int
    regime: int


class Bench(NamedTuple):
    """Memory for the hidden values of a block; R rows, a whole number of panels' rows."""

    market_RF: Matrix
    first_RH: Matrix
    own_RH: Matrix
    second_RH: Matrix
    out_RO: Matrix
    asked_R: Rows
    held_R: Rows


def make_bench(widths: Widths, inputs: int) -> Bench:
    """Return memory for blocks of ``BLOCK_ROWS``; ``inputs`` is the padded market row."""
    assert (PANEL_INPUTS, PANEL_OUTPUTS) == (INPUT_BLOCK, PANEL)
    assert BLOCK_ROWS % PANEL_ROWS == 0
    atoms = padded(ACTION_COUNT * widths.atoms, PANEL)
    widest = max(widths.hidden, widths.tanh, 2 * widths.head, widths.narrow)
    counts = (inputs, first_count(widths), widest, widest, max(atoms, PANEL))
    market, first, own, second, out = (np.zeros((BLOCK_ROWS, n), np.float32) for n in counts)
    places = [np.zeros(BLOCK_ROWS, np.int64) for _ in range(2)]
    return Bench(market, first, own, second, out, *places)


@njit_contracted
def first_count(widths: Widths) -> int:
    """Return how many numbers the first layers of all networks have together."""
    return VALUE_COUNT * widths.hidden + widths.tanh + 2 * widths.hidden


@njit_contracted
def places_of(widths: Widths, inputs: int) -> Places:
    """Return where ``strategy.compiled`` packed what; ``inputs`` is the padded market row."""
    hidden, heads, tanh = widths.hidden, 2 * widths.head, widths.tanh
    first, atoms = first_count(widths), padded(ACTION_COUNT * widths.atoms, PANEL)
    held = first + inputs * first
    second, second_length = held + ACTION_COUNT * widths.agents * first, hidden + hidden * hidden
    head, head_length = second + VALUE_COUNT * second_length, heads + hidden * heads
    dueling, dueling_length = head + HEAD_NET_COUNT * head_length, PANEL + heads * PANEL
    atoms_at = dueling + DUELING_COUNT * dueling_length
    double = atoms_at + atoms + heads * atoms + widths.atoms
    actor = double + PANEL + hidden * PANEL
    return Places(
        held,
        second,
        second_length,
        head,
        head_length,
        dueling,
        dueling_length,
        atoms_at,
        double,
        actor,
        actor + tanh + tanh * tanh + PANEL + tanh * PANEL,
    )


def sees_only_itself(flat: Vector, widths: Widths, inputs: int) -> bool:
    """Say whether no network reads the position of an agent that it does not belong to."""
    hidden, tanh, first = widths.hidden, widths.tanh, first_count(widths)
    begin = places_of(widths, inputs).held
    held_AH = flat[begin : begin + ACTION_COUNT * widths.agents * first].reshape(
        widths.agents, ACTION_COUNT, first
    )
    owner_H = np.full(first, -1)
    owner_H[: VALUE_COUNT * hidden] = np.repeat((D3QN, TWIN, TWIN, RAINBOW, DOUBLE), hidden)
    owner_H[VALUE_COUNT * hidden : VALUE_COUNT * hidden + tanh] = PPO
    return all(not held_AH[a][:, owner_H != a].any() for a in range(widths.agents))


@njit_contracted
def _add_products(
    flat: Vector, at: int, x_RI: Matrix, inputs: int, out_RO: Matrix, outputs: int, rows: int
) -> int:
    """Add x W to every row of ``out_RO``, whole panels of rows; return where the weights end."""
    for i in range(0, inputs, INPUT_BLOCK):
        for j in range(0, outputs, PANEL):
            for r in range(0, rows, PANEL_ROWS):
                add_panel(
                    x_RI,
                    r * x_RI.shape[1] + i,
                    x_RI.shape[1],
                    flat,
                    at,
                    out_RO,
                    r * out_RO.shape[1] + j,
                    out_RO.shape[1],
                )
            at += INPUT_BLOCK * PANEL
    return at


@njit_contracted
def _layer(
    flat: Vector, at: int, x_RI: Matrix, inputs: int, out_RO: Matrix, outputs: int, rows: int
) -> int:
    """Write b + x W of every row, bias first; return where the weights end."""
    for r in range(rows):
        out_RO[r, :outputs] = flat[at : at + outputs]
    end: int = _add_products(flat, at + outputs, x_RI, inputs, out_RO, outputs, rows)
    return end


@njit_contracted
def _take_first(flat: Vector, held: int, column: int, count: int, bench: Bench, asked: int) -> None:
    """Write the first layer of one network for the rows asked, own position added."""
    first = bench.first_RH.shape[1]
    for n in range(asked):
        own_H = bench.own_RH[n, :count]
        seen_H = bench.first_RH[bench.asked_R[n], column : column + count]
        begin = held + bench.held_R[bench.asked_R[n]] * first + column
        position_H = flat[begin : begin + count]
        for j in range(count):
            own_H[j] = seen_H[j] + position_H[j]


@njit_contracted
def _ask_value(
    flat: Vector, widths: Widths, place: Places, v: int, held: int, bench: Bench, asked: int
) -> None:
    """Leave in ``out_RO`` what a value network says of the rows asked."""
    hidden, heads, rows = widths.hidden, 2 * widths.head, padded(asked, PANEL_ROWS)
    own_RH, second_RH = bench.own_RH, bench.second_RH
    _take_first(flat, held, v * hidden, hidden, bench, asked)
    for n in range(asked):
        normalise_and_rectify(own_RH[n, :hidden])
    begin = place.second + v * place.second_length
    _layer(flat, begin, own_RH, hidden, second_RH, hidden, rows)
    for n in range(asked):
        normalise_and_rectify(second_RH[n, :hidden])
    if v >= HEAD_NET_COUNT:
        _layer(flat, place.double, second_RH, hidden, bench.out_RO, PANEL, rows)
        return
    _layer(flat, place.head + v * place.head_length, second_RH, hidden, own_RH, heads, rows)
    for n in range(asked):
        rectify(own_RH[n, :heads])
    if v < DUELING_COUNT:
        begin = place.dueling + v * place.dueling_length
        _layer(flat, begin, own_RH, heads, bench.out_RO, PANEL, rows)
        return
    atoms = padded(ACTION_COUNT * widths.atoms, PANEL)
    _layer(flat, place.atoms, own_RH, heads, bench.out_RO, atoms, rows)


@njit_contracted
def _ask_actor(
    flat: Vector, widths: Widths, place: Places, held: int, bench: Bench, asked: int
) -> None:
    """Leave in ``out_RO`` what PPO's actor says of the rows asked."""
    tanh, rows = widths.tanh, padded(asked, PANEL_ROWS)
    own_RH, second_RH = bench.own_RH, bench.second_RH
    _take_first(flat, held, VALUE_COUNT * widths.hidden, tanh, bench, asked)
    for n in range(asked):
        own_T = own_RH[n, :tanh]
        for j in range(tanh):
            own_T[j] = hyperbolic_tangent(own_T[j])
    at = _layer(flat, place.actor, own_RH, tanh, second_RH, tanh, rows)
    for n in range(asked):
        second_T = second_RH[n, :tanh]
        for j in range(tanh):
            second_T[j] = hyperbolic_tangent(second_T[j])
    _layer(flat, at, second_RH, tanh, bench.out_RO, PANEL, rows)


@njit_contracted
def _ask(
    flat: Vector,
    widths: Widths,
    place: Places,
    agent: int,
    bench: Bench,
    asked: int,
    preference_RA3: NDArray[np.float32],
) -> None:
    """Write what one agent prefers at the rows asked, holding what ``held_R`` says."""
    held = place.held + ACTION_COUNT * agent * bench.first_RH.shape[1]
    if agent == PPO:
        _ask_actor(flat, widths, place, held, bench, asked)
    elif agent == RAINBOW:
        _ask_value(flat, widths, place, 3, held, bench, asked)
        atoms = padded(ACTION_COUNT * widths.atoms, PANEL)
        support = place.double - widths.atoms
        for n in range(asked):
            atom_O = bench.out_RO[n, :atoms]
            mean_atoms(flat, support, widths, atom_O, preference_RA3[bench.asked_R[n], RAINBOW])
        return
    elif agent == DOUBLE:
        _ask_value(flat, widths, place, 4, held, bench, asked)
    else:
        _ask_value(flat, widths, place, 0 if agent == D3QN else 1, held, bench, asked)
    for n in range(asked):
        preference_RA3[bench.asked_R[n], agent] = bench.out_RO[n, :ACTION_COUNT]
    if agent == TWIN:
        _ask_value(flat, widths, place, 2, held, bench, asked)
        for n in range(asked):
            take_minimum(bench.out_RO[n], preference_RA3[bench.asked_R[n], agent])


@njit_contracted
def _read_market(
    flat: Vector,
    widths: Widths,
    place: Places,
    bench: Bench,
    rows: int,
    regime_RK: Matrix,
    predicted_RA: Matrix,
) -> int:
    """Write all that no position changes: first layers, posterior, predictions.

    Returns where the agents' temperatures lie.
    """
    hidden, narrow, regimes = widths.hidden, widths.narrow, widths.regimes
    whole, outputs = padded(rows, PANEL_ROWS), padded(regimes, PANEL)
    first_RH, own_RH, second_RH = bench.first_RH, bench.own_RH, bench.second_RH
    inputs = bench.market_RF.shape[1]
    _layer(flat, 0, bench.market_RF, inputs, first_RH, first_RH.shape[1], whole)
    column = VALUE_COUNT * hidden + widths.tanh
    for r in range(rows):
        own_RH[r, :hidden] = first_RH[r, column : column + hidden]
        rectify(own_RH[r, :hidden])
    at = _layer(flat, place.regime, own_RH, hidden, second_RH, narrow, whole)
    for r in range(rows):
        rectify(second_RH[r, :narrow])
    at = _layer(flat, at, second_RH, narrow, bench.out_RO, outputs, whole)
    for r in range(rows):
        write_posterior(flat[at], widths, bench.out_RO[r], bench.market_RF[r], regime_RK[r])
        own_RH[r, : padded(regimes, INPUT_BLOCK)] = np.float32(0.0)
        own_RH[r, :regimes] = regime_RK[r]
    column += hidden
    for r in range(rows):
        second_RH[r, :hidden] = first_RH[r, column : column + hidden]
    known = padded(regimes, INPUT_BLOCK)
    at = _add_products(flat, at + 1, own_RH, known, second_RH, hidden, whole)
    first_RH[:whole, column : column + hidden] = second_RH[:whole, :hidden]
    begins = at + widths.agents * hidden
    for a in range(widths.agents):
        code_H = flat[at + a * hidden : at + (a + 1) * hidden]
        for r in range(rows):
            own_H, market_H = own_RH[r, :hidden], first_RH[r, column : column + hidden]
            for j in range(hidden):
                own_H[j] = market_H[j] + code_H[j]
            rectify(own_H)
        end = _layer(flat, begins, own_RH, hidden, second_RH, narrow, whole)
        for r in range(rows):
            rectify(second_RH[r, :narrow])
        end = _layer(flat, end, second_RH, narrow, bench.out_RO, PANEL, whole)
        for r in range(rows):
            predicted_RA[r, a] = bench.out_RO[r, 0]
    return begins + (narrow + hidden * narrow) + (PANEL + narrow * PANEL)


@njit_contracted
def _wants(
    a: int,
    preference_A3: Matrix,
    confidence_A: Vector,
    predicted_A: Vector,
    action_A: NDArray[np.int64],
) -> int:
    """Return what an agent holds after its answer: flat where a number is not finite."""
    total = confidence_A[a] + predicted_A[a]
    for c in range(ACTION_COUNT):
        total += preference_A3[a, c]
    return int(action_A[a]) if np.isfinite(total) else FLAT


@njit_contracted
def walk_rows(
    flat: Vector,
    widths: Widths,
    bench: Bench,
    obs_TF: Matrix,
    held_A: NDArray[np.int64],
    preference_TA3: NDArray[np.float32],
    confidence_TA: Matrix,
    regime_TK: Matrix,
    predicted_TA: Matrix,
    action_TA: NDArray[np.int64],
) -> None:
    """Judge rows one after the other; ``held_A`` is left as what is held after the last."""
    place = places_of(widths, bench.market_RF.shape[1])
    for begin in range(0, obs_TF.shape[0], BLOCK_ROWS):
        rows = min(BLOCK_ROWS, obs_TF.shape[0] - begin)
        end = begin + rows
        bench.market_RF[:rows, : obs_TF.shape[1]] = obs_TF[begin:end]
        preference_RA3, confidence_RA = preference_TA3[begin:end], confidence_TA[begin:end]
        predicted_RA, action_RA = predicted_TA[begin:end], action_TA[begin:end]
        at = _read_market(flat, widths, place, bench, rows, regime_TK[begin:end], predicted_RA)
        for a in range(widths.agents):
            asked = rows
            for r in range(rows):
                bench.asked_R[r], bench.held_R[r] = r, held_A[a]
            while asked:
                _ask(flat, widths, place, a, bench, asked, preference_RA3)
                for n in range(asked):
                    r = bench.asked_R[n]
                    vote(flat[at + a], a, preference_RA3[r], confidence_RA[r], action_RA[r])
                asked, held = 0, held_A[a]
                for r in range(rows):  # a row that was asked with another position asks again
                    if bench.held_R[r] != held:
                        bench.held_R[r] = held
                        bench.asked_R[asked] = r
                        asked += 1
                    held = _wants(
                        a, preference_RA3[r], confidence_RA[r], predicted_RA[r], action_RA[r]
                    )
            held_A[a] = held
