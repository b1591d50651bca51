"""The hot path of inference: one preallocated observation in, one judgement out.

The seam behind which the interchange form may change: everything else sees ``Runtime.decide``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from statistics import median
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from kernels.fast_values import positional_maker
from strategy.answers import UNHEALTHY_ACTION, are_positions, write_health
from strategy.bundle import Bundle, last_line
from strategy.compiled import CompiledEnsemble
from strategy.observation import FLAT

if TYPE_CHECKING:
    from strategy.script import ScriptRunner

WARM_UP_CALLS = 64
"""Calls per batch size before the first decision: the script executor specialises on the first."""

PROOF_ROWS, PROOF_SEED = 64, 7
PROOF_TOLERANCE = 1e-4
"""Largest difference of the compiled form on drawn observations, actions included; 1e-5 is seen."""

TIMED_CALLS = 200

Form = Literal["auto", "torchscript", "compiled"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """What the models say of a batch of observations; axis A as in the bundle's manifest.

    ``preference_BA3`` action values or logits, ``action_BA`` int64 in {0, 1, 2} or -1 where the
    agent is not healthy, ``confidence_BA`` in [0, 1], ``regime_BK`` posteriors that sum to 1,
    ``predicted_BA`` risk-adjusted return. ``healthy_BA`` False: some number of that agent was not
    finite; ``regime_healthy_B`` the same for the posterior. ``error`` is empty unless the module
    itself failed: then it says why, every number is NaN and nobody is healthy.
    """

    preference_BA3: NDArray[np.float32]
    action_BA: NDArray[np.int64]
    confidence_BA: NDArray[np.float32]
    regime_BK: NDArray[np.float32]
    predicted_BA: NDArray[np.float32]
    healthy_BA: NDArray[np.bool_]
    regime_healthy_B: NDArray[np.bool_]
    error: str = ""


_new_judgement = positional_maker(Judgement)


class Runtime:
    """Run one loaded bundle; not thread-safe, one per thread.

    The script is the reference. The compiled form is taken only where it gives the script's answers
    on observations of its own making; ``form`` says which one answers, ``refusal`` why the compiled
    one does not. A bundle without its script brings that proof along.
    """

    def __init__(self, bundle: Bundle, threads: int = 1, form: Form = "torchscript") -> None:
        """Set torch's thread count for this process, where the bundle has its script.

        ValueError for form "torchscript" of a bundle without it.
        """
        self.bundle = bundle
        self.form: Literal["torchscript", "compiled"] = "torchscript"
        self.refusal = ""
        self._width = bundle.observation_count
        self._agents = len(bundle.agents)
        self._compiled: CompiledEnsemble | None = None
        self._script: ScriptRunner | None = None
        self._script_errors: tuple[type[Exception], ...] = ()
        self._is_open = form == "auto" and bundle.module is not None
        if bundle.module is None:
            if form == "torchscript":
                raise ValueError("this bundle was loaded without its script")
            self._compiled, self.form = CompiledEnsemble(bundle.weights), "compiled"
            return
        from strategy import script  # torch

        self._script = script.ScriptRunner(bundle.module, self._width, self._agents, threads)
        self._script_errors = script.SCRIPT_ERRORS
        if form != "torchscript":
            self._compile(self._script)

    def warm_up(self, rows_max: int = 2, stopwatch_ns: Callable[[], int] | None = None) -> None:
        """Specialise the script for batches of 1 to ``rows_max`` observations.

        With a stopwatch, form "auto" is decided here: the faster one for ``rows_max`` rows stays.
        """
        script, compiled = self._script, self._compiled
        for rows in range(1, rows_max + 1):
            obs_BF, held_BA = self._flat_rows(rows)
            if script is not None:
                for _ in range(WARM_UP_CALLS):
                    script.judge(obs_BF, held_BA)
            self.decide(obs_BF, held_BA)  # what looks at questions and answers
        if script and compiled and self._is_open and stopwatch_ns is not None:
            script_ns = _typical_ns(lambda: script.judge(obs_BF, held_BA), stopwatch_ns)
            compiled_ns = _typical_ns(lambda: compiled.judge(obs_BF, held_BA), stopwatch_ns)
            self.form = "compiled" if compiled_ns <= script_ns else "torchscript"
            self._is_open = False
        self.decide(*self._flat_rows(rows_max))

    def _flat_rows(self, rows: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        held_BA = np.full((rows, self._agents), FLAT, np.int64)
        return np.zeros((rows, self._width), np.float32), held_BA

    def decide(self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]) -> Judgement:
        """Judge a batch of market rows, float32 (B, F); the result owns its arrays.

        ``held_BA`` int64 (B, A): every agent's own position, 0 short, 1 flat, 2 long. Raises
        ValueError for another shape, type or position: a fault of the caller, not of a model.
        """
        if obs_BF.ndim != 2 or obs_BF.shape[1] != self._width or obs_BF.dtype != np.float32:
            raise ValueError(
                f"observation {obs_BF.dtype} {obs_BF.shape}, wanted float32 (B, {self._width})"
            )
        rows = obs_BF.shape[0]
        if held_BA.shape != (rows, self._agents) or held_BA.dtype != np.int64:
            wanted = (rows, self._agents)
            raise ValueError(f"positions {held_BA.dtype} {held_BA.shape}, wanted int64 {wanted}")
        if self.form == "compiled" and self._compiled is not None:
            answer = self._compiled.answer(obs_BF, held_BA)
            if answer is not None:
                return _new_judgement(*answer, "")
        if not are_positions(held_BA):
            raise ValueError(f"positions {held_BA.tolist()}, wanted 0, 1 or 2")
        assert self._script is not None, "a bundle without its script is compiled"
        try:
            return _judgement(*self._script.judge(obs_BF, held_BA))
        except self._script_errors as error:
            return self._failed(rows, last_line(error))

    def walk(self, obs_TF: NDArray[np.float32], held_A: NDArray[np.int64]) -> Judgement:
        """Judge rows in the order of time, each with what the agents wanted at the one before.

        ``held_A`` (A,) is what they hold before the first row, 0 short, 1 flat, 2 long; it is left
        as after the last one. An agent that is not healthy goes flat. ValueError as ``decide``.
        """
        if self.form == "compiled" and self._compiled is not None and len(obs_TF):
            self.decide(obs_TF[:1], held_A[None, :])  # looks at shapes, types and positions
            walked = _judgement(*self._compiled.walk(np.ascontiguousarray(obs_TF), held_A))
            held_A[:] = np.where(walked.healthy_BA[-1], walked.action_BA[-1], FLAT)
            return walked
        steps = []
        for obs_F in obs_TF:
            steps.append(self.decide(obs_F[None, :], held_A[None, :]))
            held_A[:] = np.where(steps[-1].healthy_BA[0], steps[-1].action_BA[0], FLAT)
        names = [field.name for field in fields(Judgement) if field.name != "error"]
        joined = {name: np.concatenate([getattr(step, name) for step in steps]) for name in names}
        return Judgement(**joined, error=next((s.error for s in steps if s.error), ""))

    def _compile(self, script: ScriptRunner) -> None:
        """Take the compiled form where the weights allow it and its answers are the script's."""
        try:
            compiled = CompiledEnsemble(self.bundle.weights)
        except ValueError as error:
            self.refusal = str(error)
            return
        generator = np.random.default_rng(PROOF_SEED)
        obs_BF = generator.normal(size=(PROOF_ROWS, self._width)).astype(np.float32)
        held_BA = generator.integers(0, 3, (PROOF_ROWS, self._agents))
        ours, theirs = compiled.judge(obs_BF, held_BA), script.judge(obs_BF, held_BA)
        apart = max(
            float(np.abs(np.asarray(one, np.float64) - np.asarray(other, np.float64)).max())
            for one, other in zip(ours, theirs, strict=True)
        )
        if not apart <= PROOF_TOLERANCE:
            self.refusal = f"its answers differ from the script's by {apart:.3g}"
            return
        self._compiled, self.form = compiled, "compiled"

    def _failed(self, rows: int, error: str) -> Judgement:
        agents, regimes = len(self.bundle.agents), len(self.bundle.regimes)
        return Judgement(
            preference_BA3=np.full((rows, agents, 3), np.nan, np.float32),
            action_BA=np.full((rows, agents), UNHEALTHY_ACTION, np.int64),
            confidence_BA=np.full((rows, agents), np.nan, np.float32),
            regime_BK=np.full((rows, regimes), np.nan, np.float32),
            predicted_BA=np.full((rows, agents), np.nan, np.float32),
            healthy_BA=np.zeros((rows, agents), np.bool_),
            regime_healthy_B=np.zeros(rows, np.bool_),
            error=error or "the module failed without a reason",
        )


def _judgement(
    preference_BA3: NDArray[np.float32],
    action_BA: NDArray[np.int64],
    confidence_BA: NDArray[np.float32],
    regime_BK: NDArray[np.float32],
    predicted_BA: NDArray[np.float32],
) -> Judgement:
    healthy_BA = np.empty(action_BA.shape, np.bool_)
    regime_healthy_B = np.empty(len(action_BA), np.bool_)
    write_health(
        preference_BA3,
        action_BA,
        confidence_BA,
        regime_BK,
        predicted_BA,
        healthy_BA,
        regime_healthy_B,
    )
    return _new_judgement(
        *(preference_BA3, action_BA, confidence_BA, regime_BK, predicted_BA),
        *(healthy_BA, regime_healthy_B, ""),
    )


def _typical_ns(call: Callable[[], object], stopwatch_ns: Callable[[], int]) -> float:
    """Return the median time of a call."""
    took_ns = []
    for _ in range(TIMED_CALLS):
        began_ns = stopwatch_ns()
        call()
        took_ns.append(stopwatch_ns() - began_ns)
    return median(took_ns)
