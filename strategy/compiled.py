"""The standard agents of a bundle as one compiled kernel, packed from the bundle's own weights.

The same numbers as the script within float32 rounding, about four times faster for one row. Other
agents than the standard five have no compiled form: they run as script.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strategy.answers import answer_rows
from strategy.compiled_kernel import (
    ACTION_COUNT,
    DUELING_COUNT,
    HEAD_NET_COUNT,
    INPUT_BLOCK,
    PANEL,
    VALUE_COUNT,
    Widths,
    judge_rows,
    padded,
)
from strategy.compiled_walk import make_bench, sees_only_itself, walk_rows
from strategy.observation import FORECAST_NAMES

Arrays = Mapping[str, NDArray[np.float32]]
Block = NDArray[np.float32]
Answer = tuple[
    NDArray[np.float32],
    NDArray[np.int64],
    NDArray[np.float32],
    NDArray[np.float32],
    NDArray[np.float32],
]
"""preference_BA3, action_BA, confidence_BA, regime_BK, predicted_BA."""

FUSED_NAMES = frozenset(
    {
        "first_weight_FH",
        "first_bias_H",
        "second_weight_VHH",
        "second_bias_V1H",
        "head_weight_VHH",
        "head_bias_V1H",
        "dueling_weight_VH3",
        "dueling_bias_V13",
        "atom_weight_HO",
        "atom_bias_O",
        "support_Z",
        "double_weight_HO",
        "double_bias_O",
        "actor_second_weight_HO",
        "actor_second_bias_O",
        "actor_weight_HO",
        "actor_bias_O",
        "regime_second_weight_HO",
        "regime_second_bias_O",
        "regime_weight_HO",
        "regime_bias_O",
        "predictor_second_weight_HO",
        "predictor_second_bias_O",
        "predictor_weight_HO",
        "predictor_bias_O",
        "posterior_weight_KH",
        "code_AH",
        "temperature_A",
        "trust_1",
    }
)
"""The weights of ``strategy.fused.FusedEnsemble``; a module with others has no compiled form."""


class CompiledEnsemble:
    """Judge by the compiled kernel; not thread-safe, since its scratch memory is its own."""

    def __init__(self, weights: Arrays) -> None:
        """Pack the weights of a fused ensemble; ValueError for any other module's."""
        if frozenset(weights) != FUSED_NAMES:
            strange = sorted(frozenset(weights) ^ FUSED_NAMES)
            raise ValueError(f"not the weights of a fused ensemble: {strange[0]}")
        self.widths = _widths(weights)
        self.observation_count = (
            weights["first_weight_FH"].shape[0] - ACTION_COUNT * self.widths.agents
        )
        self._flat = _pack(weights)
        widths = self.widths
        first = VALUE_COUNT * widths.hidden + widths.tanh + 2 * widths.hidden
        values = VALUE_COUNT * widths.hidden + HEAD_NET_COUNT * 2 * widths.head
        atoms = padded(ACTION_COUNT * widths.atoms, PANEL)
        row = padded(self.observation_count, INPUT_BLOCK)
        self._width_n = np.array(self.widths, np.int64)
        self._scratch = np.zeros(row + first + values + atoms, np.float32)
        self.is_separable = sees_only_itself(self._flat, widths, row)
        self._bench = make_bench(widths, row)

    def judge(self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]) -> Answer:
        """Return preference_BA3, action_BA, confidence_BA, regime_BK, predicted_BA, new arrays."""
        return self._run(obs_BF, held_BA, is_walk=False)

    def answer(
        self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]
    ) -> tuple[NDArray[Any], ...] | None:
        """Answer as ``judge`` does, then healthy_BA and regime_healthy_B; None for no positions.

        Who is not healthy has no vote.
        """
        rows, agents = held_BA.shape
        answer = (*self._blank(rows), np.empty((rows, agents), np.bool_), np.empty(rows, np.bool_))
        is_answered = answer_rows(
            self._flat, self._width_n, obs_BF, held_BA, self._scratch, *answer
        )
        return answer if is_answered else None

    def walk(self, obs_TF: NDArray[np.float32], held_A: NDArray[np.int64]) -> Answer:
        """Judge rows in the order of time, beginning with what the agents hold now."""
        if not self.is_separable:
            held_TA = np.ones((len(obs_TF), len(held_A)), np.int64)
            held_TA[:1] = held_A
            return self._run(obs_TF, held_TA, is_walk=True)
        answer = preference, action, confidence, regime, predicted = self._blank(len(obs_TF))
        walk_rows(
            self._flat,
            self.widths,
            self._bench,
            np.ascontiguousarray(obs_TF),
            held_A.copy(),
            preference,
            confidence,
            regime,
            predicted,
            action,
        )
        return answer

    def _blank(self, rows: int) -> Answer:
        widths = self.widths
        return (
            np.empty((rows, widths.agents, ACTION_COUNT), np.float32),
            np.empty((rows, widths.agents), np.int64),
            np.empty((rows, widths.agents), np.float32),
            np.empty((rows, widths.regimes), np.float32),
            np.empty((rows, widths.agents), np.float32),
        )

    def _run(
        self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64], *, is_walk: bool
    ) -> Answer:
        answer = preference, action, confidence, regime, predicted = self._blank(len(obs_BF))
        judge_rows(
            self._flat,
            self.widths,
            obs_BF,
            held_BA,
            self._scratch,
            preference,
            confidence,
            regime,
            predicted,
            action,
            is_walk,
        )
        return answer


def _widths(weights: Arrays) -> Widths:
    agents, regimes = weights["code_AH"].shape[0], weights["regime_weight_HO"].shape[1]
    observation_count = weights["first_weight_FH"].shape[0] - ACTION_COUNT * agents
    return Widths(
        posterior_first=observation_count - regimes - len(FORECAST_NAMES),
        hidden=weights["second_weight_VHH"].shape[1],
        head=weights["head_weight_VHH"].shape[2] // 2,
        tanh=weights["actor_weight_HO"].shape[0],
        narrow=weights["regime_weight_HO"].shape[0],
        regimes=regimes,
        agents=agents,
        atoms=weights["support_Z"].shape[0],
    )


def _blocks(weight_IO: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pad to whole blocks and panels and lay each of them out side by side."""
    inputs, outputs = weight_IO.shape
    whole_IO = np.zeros((padded(inputs, INPUT_BLOCK), padded(outputs, PANEL)), np.float32)
    whole_IO[:inputs, :outputs] = weight_IO
    blocked = whole_IO.reshape(
        len(whole_IO) // INPUT_BLOCK, INPUT_BLOCK, whole_IO.shape[1] // PANEL, PANEL
    )
    return np.ascontiguousarray(blocked.transpose(0, 2, 1, 3)).ravel()


def _layer(bias_O: NDArray[np.float32], weight_IO: NDArray[np.float32]) -> list[Block]:
    whole_O = np.zeros(padded(bias_O.size, PANEL), np.float32)
    whole_O[: bias_O.size] = bias_O.ravel()
    return [whole_O, _blocks(weight_IO)]


def _pack(weights: Arrays) -> NDArray[np.float32]:
    """Lay the weights out in the order in which ``judge_row`` takes them."""

    def named(name: str) -> list[Block]:
        return _layer(weights[f"{name}_bias_O"], weights[f"{name}_weight_HO"])

    held_count = ACTION_COUNT * weights["code_AH"].shape[0]
    first_FH = weights["first_weight_FH"]
    assert first_FH.shape[1] % PANEL == 0, "the held rows are not padded"
    blocks = _layer(weights["first_bias_H"], first_FH[:-held_count])
    blocks.append(first_FH[-held_count:].ravel())
    for v in range(VALUE_COUNT):
        blocks += _layer(weights["second_bias_V1H"][v], weights["second_weight_VHH"][v])
    for v in range(HEAD_NET_COUNT):
        blocks += _layer(weights["head_bias_V1H"][v], weights["head_weight_VHH"][v])
    for v in range(DUELING_COUNT):
        blocks += _layer(weights["dueling_bias_V13"][v], weights["dueling_weight_VH3"][v])
    blocks += [*named("atom"), weights["support_Z"]]
    for name in ("double", "actor_second", "actor", "regime_second", "regime"):
        blocks += named(name)
    blocks += [weights["trust_1"], _blocks(weights["posterior_weight_KH"])]
    blocks += [weights["code_AH"].ravel(), *named("predictor_second"), *named("predictor")]
    blocks.append(weights["temperature_A"])
    return np.ascontiguousarray(np.concatenate(blocks), np.float32)
