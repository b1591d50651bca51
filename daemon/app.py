"""The life of one run: trade until somebody asks to stop, then stop in order.

``daemon.assembly`` opens everything; ``Daemon`` turns what waits in the lanes into engine steps and
their effects into orders. A first signal asks: intents end, open orders are cancelled and that is
proven at the venue, all within five seconds. A second signal stops at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

from config.load import ConfigError, load_smtp_password
from config.settings import Settings
from daemon import control_answers, logs
from daemon.alert_delivery import AlertDelivery
from daemon.alert_opening import open_delivery
from daemon.alert_watch import AlertWatch
from daemon.assembly import VENUE_ERRORS, Parts, StartRefused, assemble
from daemon.clock import Clock, SystemClock
from daemon.control import Control
from daemon.dashboard.station import Station
from daemon.effects import Answers, Note
from daemon.exit_codes import EXIT_CONFIG, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED
from daemon.guard_link import GuardError
from daemon.hotswap import HotSwap
from daemon.identity import new_run_id
from daemon.life_sign import LifeSign
from daemon.places import CONTROL_SOCKET, socket_directory
from daemon.reload import Reload
from daemon.self_watch import SelfWatch
from daemon.summary import RunFacts, closing_lines, summarise
from daemon.venues.reconcile import cancel_everything, fetch_account
from daemon.venues.supervision import Supervisor
from kernels.events import (
    AccountEvent,
    AccountState,
    Command,
    CommandName,
    DrainEnd,
    Event,
    OrderStatus,
    SettingsChanged,
)

TICK_S = 0.05
"""Longest sleep of the main loop: timers, decisions and views are never later than this."""
ACCOUNT_INTERVAL_S = 5.0
HEARTBEAT_INTERVAL_NS = 60_000_000_000
SETTLE_S = 1.5
"""How long a stop waits for the answers to its cancels."""
CLOSE_DOWN_S = 8.0
"""How long a stop may take to close positions; what is left then is said, and the guard knows."""
STOP_BY_POLICY = {
    "leave": CommandName.STOP_LEAVING,
    "cancel": CommandName.STOP,
    "flatten": CommandName.STOP_CLOSING,
}
PROVE_S = 2.0
"""How long a stop may take to prove at the venue that no order is open."""
NS_PER_S = 1_000_000_000
AFTER_RECORDING_NS = 2 * NS_PER_S
"""How long a run without a time goes on after its recording's last frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line asks of one run.

    ``reread`` reads preset, file and overrides anew (ConfigError); ``duration_ns`` None runs until
    stopped.
    """

    settings: Settings
    reread: Callable[[], Settings]
    duration_ns: int | None
    json_summary: bool
    live_flag: bool
    show_view: bool


def run(options: RunOptions) -> int:
    """Run the daemon to its end and return the process's exit code."""
    settings = options.settings
    if settings.mode == "live" and not options.live_flag:
        print("metaensemble: mode live needs --live on the command line", file=sys.stderr)
        return EXIT_CONFIG
    if settings.venue not in ("sim", "binanceusdm"):
        print(
            f"metaensemble: venue {settings.venue} has no verified order support; its feed: "
            f"metaensemble watch --venue {settings.venue}",
            file=sys.stderr,
        )
        return EXIT_CONFIG
    clock = SystemClock()
    run_id = new_run_id(clock.now_ns(), os.urandom(8))
    log = logs.configure(
        *(settings.log.format, settings.log.level, run_id),
        memory_only=options.show_view,
        repeats_max=settings.log.repeats_max,
    )
    if options.show_view:  # log lines go to the view, which starts only when everything is ready
        print("metaensemble: starting; a first start compiles for up to a minute", file=sys.stderr)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_main(options, clock, log, run_id))
    except StartRefused as refused:
        log.note(Note(event="run_failed", event_ns=clock.now_ns(), fields={"reason": str(refused)}))
        log.close()
        print(f"metaensemble: {refused}", file=sys.stderr)
        return refused.code
    finally:
        log.close()


async def _main(options: RunOptions, clock: Clock, log: logs.Log, run_id: str) -> int:
    settings = options.settings
    try:
        password = load_smtp_password(settings, os.environ)
    except ConfigError as error:
        raise StartRefused(str(error), EXIT_CONFIG) from error
    delivery = open_delivery(settings.alerts, clock, log, password)
    async with delivery, assemble(settings, clock, log, run_id) as parts:
        daemon = Daemon(parts, options, delivery)
        await daemon.live()
    log.flush()
    summary = summarise(parts.engine, daemon.facts())
    text = json.dumps(summary) if options.json_summary else closing_lines(summary)
    print(text, flush=True)
    return daemon.exit_code


class Daemon:
    """One running daemon: the loop between the lanes and the engine."""

    def __init__(self, parts: Parts, options: RunOptions, delivery: AlertDelivery) -> None:
        """Take the assembled parts; nothing runs before ``live``."""
        self.parts = parts
        self.exit_code = EXIT_DONE
        self.account: AccountState | None = None
        self._options = options
        self._stop_reason = ""
        self._ended_clean = False
        self._began_ns = parts.clock.monotonic_ns()
        self._ended_ns = self._began_ns
        self._heartbeat_ns = self._began_ns
        self._played_ns = 0
        self._self_watch = self._watch_machine()
        self._alert_watch = AlertWatch(
            parts.settings,
            parts.engine,
            parts.instruments,
            metrics=parts.metrics,
            note=parts.dispatcher.note,
            clock=parts.clock,
        )
        self._reload = Reload(parts, options.reread)
        self._hotswap = HotSwap(parts)
        parts.dispatcher.on_model_moved = self._hotswap.moved
        self._reloading: set[asyncio.Task[Any]] = set()
        self._station = self._make_station(delivery)
        self._control = self._open_control()

    async def live(self) -> None:
        """Serve until asked to stop, then wind down."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        account_watch = asyncio.create_task(self._watch_account(), name="account watch")
        keeper = self._start_keeper()
        view = self._start_view()
        try:
            await self._start_guard()
            await self._control.start()
            self._note("control_opened", socket=str(self._control.path))
            await self._station.start()
            await self._serve()
            await self._wind_down()
        finally:
            await self._station.close()
            await self._control.close()
            await keeper.close()
            await self._hotswap.close()
            account_watch.cancel()
            if view is not None:
                view.cancel()
            await asyncio.gather(account_watch, *([view] if view else []), return_exceptions=True)

    def facts(self) -> RunFacts:
        """Collect what the summary needs beside the engine."""
        parts = self.parts
        bundle = parts.bundle
        return RunFacts(
            run_id=parts.run_id,
            mode=parts.settings.mode,
            venue=parts.settings.venue,
            duration_s=(self._ended_ns - self._began_ns) / NS_PER_S,
            exit="clean" if self._ended_clean else "forced",
            events=parts.event_counts(),
            feed=parts.feed_facts(),
            latency_ns=parts.metrics.summary(),
            model={
                "bundle": bundle.name,
                "sha256": bundle.sha256,
                "runtime": parts.engine.decider.rollout.active.model.runtime,
            },
            settings_sha256=parts.settings_sha256,
            alerts=[{"code": c, "count": n} for c, n in parts.log.alert_counts().items()],
            venue_account=self.account,
            venue_report=parts.exchange_report(),
        )

    # serve ----------------------------------------------------------------------------------

    async def _serve(self) -> None:
        parts = self.parts
        parts.health.ready(f"trading {len(parts.instruments)} instruments, {parts.settings.mode}")
        self._note("run_ready", instruments=[i.symbol for i in parts.instruments])
        if parts.event_log is not None:
            parts.event_log.put_state(parts.engine)
        while not self._stop_reason:
            await parts.lanes.wait(TICK_S)
            folded = self._fold()
            await asyncio.sleep(0)  # orders leave, and a full lane must not starve the sockets
            self._keep(*folded)
            self._tend()

    def _fold(self) -> tuple[list[Event], Answers]:
        """Drain once: fold everything that waits, then let the engine decide."""
        parts = self.parts
        parts.progress.turn_count += 1
        events = parts.lanes.drain(parts.settings.decision.drain_events_max)
        if events:
            parts.progress.heard_ns = parts.clock.monotonic_ns()
        overdue = parts.guard.overdue() if parts.guard is not None else None
        if overdue is not None:
            events.insert(0, overdue)  # whoever stood still must know it before anything else
        step, carry_out = parts.engine.step, parts.dispatcher.carry_out
        answers: Answers = []
        for place, event in enumerate(events):
            effects = step(event)
            if isinstance(event, AccountEvent):
                parts.dispatcher.keep(event)
            if effects:
                carry_out(effects, event.received_ns)
                answers.append((place, effects))
            if isinstance(event, Command):
                self._control.applied(event)
            elif isinstance(event, SettingsChanged):
                self._reload.applied(event)
        now_ns = parts.clock.now_ns()
        origin_ns = events[-1].received_ns if events else now_ns
        end = DrainEnd(
            received_ns=now_ns,
            drained_count=len(events),
            judgement_ns=parts.probe.judgement_ns,
        )
        effects = step(end)
        if effects:
            carry_out(effects, origin_ns)
            answers.append((len(events), effects))
        return [*events, end], answers

    def _keep(self, events: list[Event], answers: Answers) -> None:
        """Record a turn, and a state where one is due."""
        parts, log = self.parts, self.parts.event_log
        if log is not None:
            log.put(events, answers, parts.engine)
            if log.is_state_due() and not parts.lanes.waiting_count:
                log.put_state(parts.engine)

    def _tend(self) -> None:
        """Do what is due beside trading: end of the run, watchdog, heartbeat."""
        parts = self.parts
        now_ns = parts.clock.monotonic_ns()
        duration_ns = self._options.duration_ns
        if duration_ns is not None and now_ns - self._began_ns >= duration_ns:
            self._stop_reason = self._stop_reason or "the time is up"
        if duration_ns is None and parts.exchange is not None and parts.exchange.source_finished:
            self._played_ns = self._played_ns or now_ns
            if now_ns - self._played_ns >= AFTER_RECORDING_NS:
                self._stop_reason = self._stop_reason or "the recording has ended"
        if not parts.exchange_is_alive():
            self._note("exchange_exited")
            self.exit_code = EXIT_FAILED
            self._stop_reason = self._stop_reason or "the simulated exchange ended"
        self._self_watch.look()
        self._hotswap.tend()
        self._alert_watch.look()
        self._station.tend()
        parts.collector.tend(is_idle=not parts.lanes.waiting_count)
        parts.health.watchdog(parts.progress.turn_count)
        if now_ns - self._heartbeat_ns >= HEARTBEAT_INTERVAL_NS:
            self._heartbeat_ns = now_ns
            self._heartbeat()

    def _heartbeat(self) -> None:
        engine = self.parts.engine
        ledger = engine.desk.ledger
        fields = {
            "decisions": engine.decision_count,
            "orders_sent": engine.desk.orders.counts["sent"],
            "drawdown_frac": round(ledger.drawdown_frac, 6),
            "breaker": engine.desk.breaker.state.name,
            "verdicts": [market.verdict.name for market in engine.markets],
        }
        self._note("heartbeat", **fields)
        self.parts.health.status(
            f"{engine.desk.breaker.state.name}, {engine.decision_count} decisions, "
            f"{engine.desk.orders.counts['sent']} orders, drawdown {ledger.drawdown_frac:.2%}"
        )

    def _watch_machine(self) -> SelfWatch:
        parts = self.parts
        return SelfWatch(
            directory=parts.journal.path.parent,
            disk_free_mb_min=parts.settings.breaker.disk_free_mb_min,
            errors={
                "journal": lambda: parts.journal.writer_error,
                "event log": lambda: parts.event_log.error if parts.event_log else None,
            },
            alarm=parts.lanes.put,
            note=parts.dispatcher.note,
            clock=parts.clock,
        )

    def _open_control(self) -> Control:
        parts = self.parts
        directory = socket_directory(parts.journal.path.parent, os.environ)
        return Control(
            path=directory / CONTROL_SOCKET,
            questions={
                **control_answers.questions(parts, self._began_ns, self._station),
                "reload": lambda _: self._reload.reload("operator"),
                "models": self._hotswap.listed,
                "promote": self._hotswap.promote,
                "rollback": self._hotswap.rollback,
            },
            put=parts.lanes.put,
            kill=self._on_kill,
            clock=parts.clock,
        )

    def _make_station(self, delivery: AlertDelivery) -> Station:
        async def obey(request: dict[str, Any]) -> dict[str, Any]:
            return await self._control.obey(request, os.getuid())

        return Station(
            self.parts,
            began_ns=self._began_ns,
            duration_ns=self._options.duration_ns,
            deliveries=delivery.counts,
            obey=obey,
        )

    async def _start_guard(self) -> None:
        """Trade only while somebody watches; StartRefused without the guard that was asked for."""
        if self.parts.guard is None:
            return
        try:
            await self.parts.guard.start()
        except GuardError as error:
            raise StartRefused(str(error), EXIT_FAILED) from error

    def _start_keeper(self) -> Supervisor:
        """Watch the models directory, and tell the outside that we live, where that is asked."""
        parts = self.parts
        keeper = Supervisor(parts.clock, parts.dispatcher.note, parts.generator)
        if parts.settings.model.directory:
            keeper.spawn_forever("models watch", self._hotswap.run)
        if parts.settings.alerts.heartbeat_url:
            sign = LifeSign(
                parts.settings.alerts,
                parts.clock,
                progress=lambda: parts.progress.turn_count,
                note=parts.dispatcher.note,
            )
            keeper.spawn_forever("life sign", sign.run)
        return keeper

    def _on_kill(self, reason: str) -> None:
        """End after an operator's kill: everything is cancelled already, so stop in order."""
        self._stop_reason = self._stop_reason or reason
        self.exit_code = EXIT_FAILED

    async def _watch_account(self) -> None:
        """Bring the venue's own account in regularly; a venue that does not answer is noted."""
        parts = self.parts
        wanted = parts.dispatcher.account_wanted
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(wanted.wait(), ACCOUNT_INTERVAL_S)
            wanted.clear()
            try:
                parts.lanes.put(await self._fetch_account())
            except (TimeoutError, *VENUE_ERRORS) as error:
                self._note("account_unreadable", reason=type(error).__name__)

    async def _fetch_account(self) -> AccountState:
        parts = self.parts
        async with asyncio.timeout(ACCOUNT_INTERVAL_S):
            return await fetch_account(parts.venue, parts.instruments, parts.clock)

    # stop -----------------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        if self._stop_reason:
            self._note("shutdown_forced", signal=signal.Signals(number).name)
            self.parts.log.flush(0.2)
            os._exit(EXIT_INTERRUPTED)
        self._stop_reason = signal.Signals(number).name
        if number == signal.SIGINT:
            self.exit_code = EXIT_INTERRUPTED

    def _on_hangup(self) -> None:
        task = asyncio.create_task(self._reload.reload("SIGHUP"), name="reload")
        self._reloading.add(task)
        task.add_done_callback(self._reloading.discard)

    async def _wind_down(self) -> None:
        parts = self.parts
        parts.health.stopping(self._stop_reason)
        if parts.guard is not None:
            parts.guard.stopping()
        policy = parts.settings.execution.on_stop
        self._note("run_stopping", reason=self._stop_reason, policy=policy)
        command = Command(
            received_ns=parts.clock.now_ns(), name=STOP_BY_POLICY[policy], reason=self._stop_reason
        )
        parts.lanes.put(command)
        await self._settle(policy)
        try:
            async with asyncio.timeout(PROVE_S):
                remaining: Sequence[object] = ()
                if policy != "leave":
                    remaining = await cancel_everything(
                        *(parts.venue, parts.instruments),
                        generator=parts.generator,
                        timeout_s=PROVE_S,
                        keeps=parts.gateway.spares,
                    )
                await parts.gateway.drain(PROVE_S)
                self._keep(*self._fold())
                self.account = await self._fetch_account()
            self._keep(*self._fold())
            self._ended_clean = not remaining and self._is_settled(policy)
        except (TimeoutError, *VENUE_ERRORS) as error:
            self._note("shutdown_forced", reason=f"orders not proven closed: {error!r}")
            self.exit_code = self.exit_code or EXIT_FAILED
        if parts.event_log is not None:
            parts.event_log.put_state(parts.engine, is_last=True)
        if parts.guard is not None:
            parts.guard.goodbye(self._ended_clean)
        self._ended_ns = parts.clock.monotonic_ns()
        self._note("run_stopped", decisions=parts.engine.decision_count, clean=self._ended_clean)

    async def _settle(self, policy: str) -> None:
        """Turn until what the policy wants is so by our books, or its time is up."""
        parts = self.parts
        settle_s = CLOSE_DOWN_S if policy == "flatten" else SETTLE_S
        deadline_ns = parts.clock.monotonic_ns() + int(settle_s * NS_PER_S)
        while parts.clock.monotonic_ns() < deadline_ns:
            await parts.lanes.wait(TICK_S)
            self._keep(*self._fold())
            await asyncio.sleep(0)  # let the sockets bring the answers in
            if self._is_settled(policy) and not parts.lanes.waiting_count:
                return

    def _is_settled(self, policy: str) -> bool:
        """Say whether the stop has reached what its policy wants, by our books."""
        desk = self.parts.engine.desk
        if policy == "leave":
            return not any(o.status is OrderStatus.UNKNOWN for o in desk.orders.open_orders())
        is_flat = not any(desk.ledger.position_lots(i.index) for i in self.parts.instruments)
        return not desk.orders.open_orders() and (is_flat or policy != "flatten")

    # view -----------------------------------------------------------------------------------

    def _start_view(self) -> asyncio.Task[None] | None:
        if not self._options.show_view:
            return None
        from daemon.dashboard.live import show  # rich is imported only where it is shown

        return asyncio.create_task(show(self.parts, self._options.duration_ns), name="view")

    def _note(self, event: str, **fields: Any) -> None:
        now_ns = self.parts.clock.now_ns()
        self.parts.dispatcher.note(Note(event=event, event_ns=now_ns, fields=fields))
