"""One decision's parts: the ensemble against plain torch, the gate, and the intent's journal."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from config.settings import RiskLimits
from daemon.bench.stopwatch import EMPTY_KERNEL, Form, Goal, Stage
from daemon.identity import client_order_id, new_run_id
from daemon.journal import Journal
from daemon.simulated.listings import listed_instruments
from kernels.events import AccountState, OrderIntent, OrderType, Side, Verdict
from kernels.ledger import Ledger
from kernels.units import E8
from risk.breaker import BreakerState
from risk.gate import Approved, Gate
from risk.views import ModelVerdict, StillMarket, WorkingOrder
from risk.working_tally import WorkingTally
from strategy.archive import write_bundle
from strategy.bundle import load
from strategy.export import demonstration_recipe
from strategy.plain_torch import PlainTorch
from strategy.runtime import Runtime

NOW_NS = 1_700_000_000_000_000_000
BATCHES = {1: 300, 64: 60, 1_024: 12}
"""Rows of a call, and how many calls of them are timed in a round."""

EAGER_RATIO = 25.0
SAMPLE_BARS = 400
REVIEWS = 1_500
INTENTS = 400
WORKING_ORDERS = 20
GATE_NS = 10_000
ANSWERS_DIFFER_MAX = 1e-4
SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
TOUCH_TICKS = (600_000, 260_000)
SLOT_BYTES = 512


def ensemble_stage() -> Stage:
    """Time both forms of the runtime against the same networks in plain torch.

    All three must agree within 1e-4 first. One instrument, several, and more than anybody trades.
    """
    recipe = demonstration_recipe(seed=7, bars=SAMPLE_BARS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bundle"
        write_bundle(path, recipe)
        bundle = load(path, recipe.feature_names, now_ns=NOW_NS)
    runtimes = {"script": Runtime(bundle), "compiled": Runtime(bundle, form="compiled")}
    assert runtimes["compiled"].form == "compiled", runtimes["compiled"].refusal
    plain = PlainTorch(recipe.ensemble)
    forms: list[Form] = []
    goals: list[Goal] = []
    for rows, calls in BATCHES.items():
        batches = _batches(recipe.obs_BF, recipe.held_BA, rows, calls)
        base = f"plain torch eager, B={rows}"
        forms.append(Form(name=base, function=plain.decide, rows=batches))
        for name, runtime in runtimes.items():
            runtime.warm_up(1)
            for batch in batches[:20]:
                ours, theirs = runtime.decide(*batch).preference_BA3, plain.decide(*batch)[0]
                difference = float(np.abs(np.subtract(ours, theirs)).max())
                assert difference <= ANSWERS_DIFFER_MAX, f"{name} differs by {difference}"
            decide = f"{name}, B={rows}"
            forms.append(Form(name=decide, function=runtime.decide, rows=batches))
            is_bar = name == "compiled" and rows == 1
            goals.append(Goal(form=decide, base=base, ratio_min=EAGER_RATIO if is_bar else None))
    return Stage(name="ensemble", forms=forms, goals=goals, facts={"agents": list(bundle.agents)})


def _batches(
    obs_NF: NDArray[np.float32], held_NA: NDArray[np.int64], rows: int, calls: int
) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Return batches of successive rows, beginning anew where the sample ends."""
    batches = []
    for call in range(calls):
        at_B = np.arange(call, call + rows) % len(obs_NF)
        batches.append((np.ascontiguousarray(obs_NF[at_B]), np.ascontiguousarray(held_NA[at_B])))
    return batches


class GateRig:
    """An account, a healthy market and twenty living orders; every intent is approved."""

    def __init__(self) -> None:
        """Build everything but the gate, which every round makes anew."""
        self.instruments = listed_instruments(SYMBOLS, maker_fee_bps=2.0, taker_fee_bps=5.0)
        self.ledger = Ledger(self.instruments, 0)
        for index, mark_ticks in enumerate(TOUCH_TICKS):
            self.ledger.mark(index, mark_ticks, NOW_NS)
        self.ledger.adopt(
            AccountState(
                received_ns=NOW_NS, wallet_quote_e8=1_000_000 * E8, position_lots=(100, -1_000)
            )
        )
        self.ledger.roll_day(NOW_NS)
        self.market = tuple(
            StillMarket(
                verdict=Verdict.OK,
                bid_ticks=ticks - 1,
                ask_ticks=ticks + 1,
                bid_lots=10,
                ask_lots=10,
                bid_depth_lots=10_000,
                ask_depth_lots=10_000,
                mark_ticks=ticks,
                quote_received_ns=NOW_NS,
                mark_received_ns=NOW_NS,
                day_volume_lots=1_000_000,
                day_volume_received_ns=NOW_NS,
            )
            for ticks in TOUCH_TICKS
        )
        self.orders = WorkingTally(len(self.instruments))
        for n in range(WORKING_ORDERS):
            self.change_order(n, 5)
        self.renew()

    def renew(self) -> None:
        """Make a fresh gate: sequences begin anew, nothing is a duplicate."""
        limits = RiskLimits(
            messages_per_s_max=1e6, messages_burst_max=10**6, agent_executions_max=10**6
        )
        self._gate = Gate(self.instruments, limits)

    def change_order(self, number: int, remaining_lots: int) -> None:
        """Let one of the living orders change, as its venue's news would."""
        order = WorkingOrder(
            instrument=number % 2,
            side=Side.BUY if number % 3 else Side.SELL,
            remaining_lots=remaining_lots,
            reduce_only=False,
            is_unknown=False,
        )
        self.orders.put(str(number), order)

    def review(self, intent: OrderIntent) -> Approved:
        """Ask the gate about one intent, which it approves."""
        (answer,) = self._gate.review(
            (intent,),
            ledger=self.ledger,
            market=self.market,
            working=self.orders.view,
            breaker=BreakerState.NORMAL,
            model=(ModelVerdict.OK, ModelVerdict.OK),
            now_ns=NOW_NS,
        )
        assert isinstance(answer, Approved), answer
        return answer


def small_intent(sequence: int) -> OrderIntent:
    """Make an intent that differs from its neighbours and breaks no limit."""
    return OrderIntent(
        sequence=sequence,
        instrument=0,
        side=Side.BUY,
        quantity_lots=10 + sequence % 50,
        price_ticks=TOUCH_TICKS[0] + sequence % 997,
        order_type=OrderType.IOC,
        reduce_only=False,
        decided_ns=NOW_NS,
        reason="benchmark",
        agent_share_A=(0.2,) * 5,
    )


def gate_stage() -> Stage:
    """Time one review beside twenty living orders, and the news of an order on its own.

    The order table counts an order when the venue speaks of it, long before the next review.
    """
    rig = GateRig()
    name = f"gate, one intent beside {WORKING_ORDERS} orders"
    forms = [
        Form(
            name=name,
            function=rig.review,
            rows=[(small_intent(n),) for n in range(REVIEWS)],
            before_round=rig.renew,
        ),
        Form(
            name="one living order changes, its sums counted",
            function=rig.change_order,
            rows=[(n % WORKING_ORDERS, 4 + n % 3) for n in range(REVIEWS)],
        ),
    ]
    goals = [Goal(form=name, p50_ns_max=GATE_NS), Goal(form=EMPTY_KERNEL, base=name)]
    return Stage(name="gate", forms=forms, goals=goals)


class JournalRig:
    """A journal in a folder of its own for every round, and plain files beside it."""

    def __init__(self, parent: Path | None = None) -> None:
        """Make the folder, where temporary files go unless ``parent`` says otherwise."""
        self._folder = tempfile.TemporaryDirectory(dir=parent)
        self._round = 0
        self._journals: dict[str, Journal] = {}
        path = Path(self._folder.name) / "plain"
        self._plain = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._slot = bytes(SLOT_BYTES)

    def __enter__(self) -> Self:
        """Hand out the rig."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close journals and files and remove the folder."""
        for journal in self._journals.values():
            journal.close(NOW_NS)
        os.close(self._plain)
        self._folder.cleanup()

    @property
    def folder(self) -> str:
        """Where the files lie: its disk is what is measured."""
        return self._folder.name

    def reopen(self, sync: Literal["ring", "strict"]) -> None:
        """Begin a new run in a new folder: no slot is taken."""
        if sync in self._journals:
            self._journals[sync].close(NOW_NS)
        self._round += 1
        run_id = new_run_id(NOW_NS, self._round.to_bytes(4, "big"))
        folder = Path(self._folder.name) / f"{sync}-{self._round}"
        self._journals[sync] = Journal(folder, run_id, sync, instruments=SYMBOLS, started_ns=NOW_NS)

    def record(self, sync: str, approved: tuple[tuple[str, OrderIntent, int], ...]) -> None:
        """Store one approved intent, as the dispatcher does before it sends."""
        self._journals[sync].record_intents(approved)

    def append(self, is_synced: bool) -> None:
        """Append as many bytes as a slot of the ring holds to a plain file."""
        os.write(self._plain, self._slot)
        if is_synced:
            os.fdatasync(self._plain)


def journal_stage(rig: JournalRig) -> Stage:
    """Time storing one intent, as it must be before it is sent, in both modes."""
    plain, synced = "append 512 bytes, no sync", "append 512 bytes and fdatasync"
    forms = [
        Form(name=plain, function=rig.append, rows=[(False,)] * INTENTS),
        Form(name=synced, function=rig.append, rows=[(True,)] * INTENTS),
    ]
    run_id = new_run_id(NOW_NS, bytes(4))
    approvals = [((client_order_id(run_id, n), small_intent(n), NOW_NS),) for n in range(INTENTS)]
    goals = []
    modes: Sequence[tuple[Literal["ring", "strict"], str]] = (("ring", plain), ("strict", synced))
    for sync, base in modes:
        name = f"journal one intent, sync {sync}"
        forms.append(
            Form(
                name=name,
                function=rig.record,
                rows=[(sync, approved) for approved in approvals],
                before_round=lambda sync=sync: rig.reopen(sync),  # type: ignore[misc]  # a default binds the loop's value
            )
        )
        goals.append(Goal(form=name, base=base))
    return Stage(name="journal", forms=forms, goals=goals, facts={"folder": rig.folder})
