"""How a model earns its way in: shadow, canary, probation, settled. Pure, given loaded models.

Shadow: the candidate judges what the deciding model judges, and nothing of it is used. Canary: it
decides, its targets cut to a share. Probation: it decides in full, the old one stays loaded. A step
is one exchange of references after a decision; a fault found in an answer is undone before that
answer is used. What only a clock can tell (latency) comes in as an event, so a replay is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from config.settings import ModelSettings
from daemon.effects import ModelMoved
from kernels.events import BundleOffered, BundleWithdrawn
from strategy.learning.forecasts import Forecast
from strategy.observation import Normalisation
from strategy.quality import StrangenessScale
from strategy.regime_filter import RegimeFilter, uninformed_filter
from strategy.residual_model import ResidualModel
from strategy.runtime import Judgement
from strategy.shadow import Tally, action_shift, is_sound

SHIFT_DECISIONS_MIN = 10
"""A histogram of fewer decisions than this is not compared on probation."""


class Judge(Protocol):
    """The loaded ensemble: ``strategy.runtime.Runtime``, or a scripted one in tests."""

    def decide(self, obs_BF: NDArray[np.float32], held_BA: NDArray[np.int64]) -> Judgement:
        """Judge B market rows in one call, each agent with its own position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What the decider needs of a bundle.

    ``tables`` are those of what is no network; forecast, regime filter, the level of its crisis
    alarm (1: none), the scale of strangeness and the residual network are read from them.
    ``runtime`` names the form that answers.
    """

    judge: Judge
    normalisation: Normalisation
    feature_names: tuple[str, ...]
    agent_names: tuple[str, ...]
    exposure_frac_max: float
    expires_ns: int | None = None
    tables: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    forecast: Forecast | None = None
    runtime: str = "torchscript"
    regime_filter: RegimeFilter = field(default_factory=uninformed_filter)
    crisis_level: float = 1.0
    strangeness: StrangenessScale | None = None
    residual: ResidualModel | None = None


class Stage(StrEnum):
    """How far a newcomer has come; SETTLED also when there is none."""

    SETTLED = "settled"
    SHADOW = "shadow"
    CANARY = "canary"
    PROBATION = "probation"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleName:
    """One bundle: its name, the hash of its manifest, its directory."""

    name: str
    sha256: str
    path: str


Find = Callable[[BundleName], Model | None]
"""Gives the loaded model of a bundle, None where it is not loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A bundle with its loaded model."""

    bundle: BundleName
    model: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState:
    """All that the next step depends on; models are named, not held.

    ``newcomer`` and ``before`` are tallies of the stage so far, ``reference`` that of the
    newcomer's shadow; ``equity_quote_e8`` is what there was when it began to decide.
    """

    stage: str
    active: BundleName
    previous: BundleName | None
    candidate: BundleName | None
    newcomer: Tally
    before: Tally
    reference: Tally
    unsound_run: int
    equity_quote_e8: int


class Rollout:
    """Which model decides, which one waits, which one can come back."""

    def __init__(self, active: Seat, knobs: ModelSettings, find: Find) -> None:
        """Start settled on one model."""
        self.stage = Stage.SETTLED
        self.active = active
        self.previous: Seat | None = None
        self.candidate: Seat | None = None
        self.newcomer = Tally()
        self._knobs = knobs
        self._find = find
        self._before = Tally()
        self._reference = Tally()
        self._unsound_run = 0
        self._equity_e8 = 0

    @property
    def size_frac(self) -> float:
        """Share of its target that the deciding model may have."""
        return self._knobs.canary_frac if self.stage is Stage.CANARY else 1.0

    @property
    def watched(self) -> Seat | None:
        """The newcomer, whichever seat it has; None when settled."""
        if self.stage is Stage.SETTLED:
            return None
        return self.candidate if self.stage is Stage.SHADOW else self.active

    # events -----------------------------------------------------------------------------------

    def offer(self, event: BundleOffered, equity_quote_e8: int) -> tuple[ModelMoved, ...]:
        """Take a verified bundle into shadow, or straight on probation where the event says so."""
        bundle = BundleName(name=event.name, sha256=event.sha256, path=event.path)
        if self.stage is not Stage.SETTLED:
            return (self._moved("refused", bundle, f"another bundle is in {self.stage}"),)
        if bundle.sha256 == self.active.bundle.sha256:
            return (self._moved("refused", bundle, "it decides already"),)
        model = self._find(bundle)
        if model is None or model.agent_names != self.active.model.agent_names:
            return (self._moved("refused", bundle, "not loaded, or of other agents"),)
        self.candidate = Seat(bundle=bundle, model=model)
        self._reference = Tally()
        if event.skip_shadow:
            return self._seat_candidate(Stage.PROBATION, equity_quote_e8, "promoted by operator")
        self._enter(Stage.SHADOW)
        return (self._moved(Stage.SHADOW, bundle, "verified"),)

    def withdraw(self, event: BundleWithdrawn) -> tuple[ModelMoved, ...]:
        """Drop a candidate, or go back to the last good bundle, as the shell or operator says."""
        if self.candidate is not None and event.sha256 == self.candidate.bundle.sha256:
            return self._drop(event.reason)
        if event.sha256 == self.active.bundle.sha256 and self.previous is not None:
            return self.roll_back(event.reason)
        return ()

    # decisions --------------------------------------------------------------------------------

    def fault_of(self, judgement: Judgement, equity_quote_e8: int) -> str | None:
        """Say why the deciding model must make way for the last good one before it is obeyed."""
        if self.previous is None:
            return None
        self._unsound_run = 0 if is_sound(judgement) else self._unsound_run + 1
        if self.stage is Stage.SETTLED:
            if self._unsound_run >= self._knobs.unsound_decisions_max:
                return f"{self._unsound_run} unsound decisions in a row"
            return None
        if self._unsound_run:
            return f"unhealthy: {judgement.error or 'numbers that are not finite'}"
        self.newcomer = self.newcomer.add(judgement)
        loss_frac = 1.0 - equity_quote_e8 / self._equity_e8 if self._equity_e8 > 0 else 0.0
        if loss_frac > self._knobs.probation_loss_frac_max:
            return f"lost {loss_frac:.4f} of equity since it decides"
        if self.newcomer.decisions >= SHIFT_DECISIONS_MIN:
            shift = action_shift(self.newcomer, self._reference)
            if shift > self._knobs.action_shift_frac_max:
                return f"actions moved by {shift:.3f} from its shadow"
        return None

    def roll_back(self, reason: str) -> tuple[ModelMoved, ...]:
        """Let the last good model decide from now on."""
        assert self.previous is not None, "only with a bundle to go back to"
        failed = self.active
        self.active, self.previous = self.previous, None
        moved = self._moved("rolled_back", failed.bundle, reason)
        self._enter(Stage.SETTLED)
        return (moved,)

    def compare(self, judgement: Judgement, shadow: Judgement) -> None:
        """Count what both models said of one decision in shadow."""
        self._before = self._before.add(judgement)
        self.newcomer = self.newcomer.add(shadow)

    def advance(self, equity_quote_e8: int) -> tuple[ModelMoved, ...]:
        """Take the step that is due after a decision."""
        knobs, done = self._knobs, self.newcomer.decisions
        if self.stage is Stage.SHADOW:
            if self.newcomer.unsound:
                return self._drop("unhealthy in shadow: numbers that are not finite")
            if done < knobs.shadow_decisions:
                return ()
            shift = action_shift(self.newcomer, self._before)
            if shift > knobs.action_shift_frac_max:
                return self._drop(f"its actions lie {shift:.3f} from those of the old model")
            self._reference = self.newcomer
            first = Stage.CANARY if knobs.canary_decisions else Stage.PROBATION
            return self._seat_candidate(first, equity_quote_e8, "passed its shadow")
        if self.stage is Stage.CANARY and done >= knobs.canary_decisions:
            moved = self._moved(Stage.PROBATION, self.active.bundle, "passed as canary")
            self._enter(Stage.PROBATION)
            return (moved,)
        if self.stage is Stage.PROBATION and done >= knobs.probation_decisions:
            moved = self._moved(Stage.SETTLED, self.active.bundle, "passed its probation")
            self._enter(Stage.SETTLED)
            return (moved,)
        return ()

    # state ------------------------------------------------------------------------------------

    @property
    def state(self) -> RolloutState:
        """Give all that the next step depends on."""
        return RolloutState(
            stage=self.stage.value,
            active=self.active.bundle,
            previous=self.previous.bundle if self.previous else None,
            candidate=self.candidate.bundle if self.candidate else None,
            newcomer=self.newcomer,
            before=self._before,
            reference=self._reference,
            unsound_run=self._unsound_run,
            equity_quote_e8=self._equity_e8,
        )

    def restore(self, state: RolloutState) -> None:
        """Continue where another rollout stood; ValueError when one of its models is missing."""
        seats = (self.active, self.previous, self.candidate)
        held = {seat.bundle: seat for seat in seats if seat is not None}
        self.active = self._seat(state.active, held)
        self.previous = self._seat(state.previous, held) if state.previous else None
        self.candidate = self._seat(state.candidate, held) if state.candidate else None
        self.stage = Stage(state.stage)
        self.newcomer, self._before = state.newcomer, state.before
        self._reference = state.reference
        self._unsound_run = state.unsound_run
        self._equity_e8 = state.equity_quote_e8

    # inner ------------------------------------------------------------------------------------

    def _seat(self, bundle: BundleName, held: Mapping[BundleName, Seat]) -> Seat:
        if bundle in held:
            return held[bundle]
        model = self._find(bundle)
        if model is None:
            raise ValueError(f"bundle {bundle.name} {bundle.sha256[:12]} is not loaded")
        return Seat(bundle=bundle, model=model)

    def _seat_candidate(
        self, stage: Stage, equity_quote_e8: int, reason: str
    ) -> tuple[ModelMoved, ...]:
        """Exchange the references: the candidate decides from the next decision on."""
        assert self.candidate is not None, "only with a candidate"
        self.previous, self.active, self.candidate = self.active, self.candidate, None
        self._equity_e8 = equity_quote_e8
        moved = self._moved(stage, self.active.bundle, reason)
        self._enter(stage)
        return (moved,)

    def _drop(self, reason: str) -> tuple[ModelMoved, ...]:
        assert self.candidate is not None, "only with a candidate"
        moved = self._moved("dropped", self.candidate.bundle, reason)
        self.candidate = None
        self._enter(Stage.SETTLED)
        return (moved,)

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self.newcomer, self._before = Tally(), Tally()
        self._unsound_run = 0

    def _moved(self, step: str, bundle: BundleName, reason: str) -> ModelMoved:
        return ModelMoved(
            step=str(step),
            name=bundle.name,
            sha256=bundle.sha256,
            active_sha256=self.active.bundle.sha256,
            decisions=self.newcomer.decisions,
            votes=self.newcomer.votes,
            reason=reason,
        )
