"""Open everything one run needs, in order, and let go of it in reverse.

Whatever is refused on the way becomes one ``StartRefused`` with a sentence and an exit code; what
was opened before it is closed again, so a refused start leaves nothing running and no order behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from config.load import ConfigError, load_credentials, settings_sha256
from config.settings import Settings
from daemon.clock import Clock
from daemon.collector import Collector
from daemon.decisions import Decider, Model
from daemon.dispatch import Dispatcher
from daemon.effects import Note
from daemon.engine import Engine
from daemon.event_log import EventLog
from daemon.event_opening import account_fingerprint, open_event_log
from daemon.exit_codes import EXIT_CONFIG, EXIT_FAILED, EXIT_REFUSED
from daemon.guard_link import GuardError, GuardLink, Progress
from daemon.guard_opening import open_guard
from daemon.health import Health
from daemon.journal import Journal, JournalError, journal_directory
from daemon.lanes import Lanes
from daemon.latch_opening import take_over_latch
from daemon.latency_watch import keep_to_cores
from daemon.logs import Log
from daemon.meta_memory import expert_names
from daemon.metrics import Metrics
from daemon.model_loading import load_first_model
from daemon.model_store import Shelf, named
from daemon.probe import SendWatch, StageProbe
from daemon.simulated.attach import Exchange, attach
from daemon.simulated.process import ExchangeError
from daemon.simulated.process import start as start_exchange
from daemon.venues.connect import VenueError, connect, load_instruments
from daemon.venues.day_volumes import DayVolumes
from daemon.venues.feeds import Feed
from daemon.venues.key_rights import KeyRefusedError, check_key
from daemon.venues.order_socket import OrderSocket
from daemon.venues.orders import OrderGateway
from daemon.venues.paper import PaperBinanceUsdm, PaperLanes
from daemon.venues.reconcile import ReconcileError, fetch_account
from daemon.venues.supervision import Supervisor
from daemon.venues.tap import TapBinanceUsdm
from daemon.warm_opening import recover_account
from kernels.events import AccountState
from kernels.units import Instrument
from kernels.warmup import warm_up
from strategy.bundle import Bundle, BundleError

PAPER_ACCOUNT = "paper-account.log"
"""File of mode paper, beside the journal."""

VENUE_ERRORS = (VenueError, ReconcileError, OSError)
"""What talking to the venue may raise beside TimeoutError."""


class StartRefused(Exception):  # noqa: N818 - a refused start is an outcome, not a fault
    """The run cannot start; the sentence is for the user, the code for the process."""

    def __init__(self, message: str, code: int) -> None:
        """Keep both."""
        super().__init__(message)
        self.code = code


@dataclass(slots=True, kw_only=True)
class Parts:
    """Everything that one run is made of; ``exchange`` is None unless the venue is simulated."""

    settings: Settings
    settings_sha256: str
    run_id: str
    clock: Clock
    generator: np.random.Generator
    log: Log
    metrics: Metrics
    health: Health
    journal: Journal
    bundle: Bundle
    shelf: Shelf
    lanes: Lanes
    instruments: tuple[Instrument, ...]
    engine: Engine
    probe: StageProbe
    venue: TapBinanceUsdm
    feed: Feed
    gateway: OrderGateway
    dispatcher: Dispatcher
    exchange: Exchange | None
    event_log: EventLog | None
    collector: Collector
    guard: GuardLink | None = None
    progress: Progress = field(default_factory=Progress)

    def exchange_is_alive(self) -> bool:
        """Say whether the simulated exchange still runs; True where there is none."""
        return self.exchange is None or self.exchange.exit_code is None

    def exchange_report(self) -> dict[str, Any] | None:
        """Return what the venue counted that fills orders here, once stopped; None without one."""
        if isinstance(self.venue, PaperBinanceUsdm):
            return self.venue.paper.report()
        if self.exchange is None:
            return None
        try:
            return self.exchange.report()
        except ExchangeError as error:
            return {"error": str(error)}

    def event_counts(self) -> dict[str, int]:
        """Count what came in, under the names of the summary."""
        counters = self.feed.counters
        return {
            "depth": counters.depth_count,
            "trade": counters.trade_count,
            "quote": counters.quote_count,
            "mark": counters.mark_count,
            "user": counters.user_count,
            "lost": counters.lost_count,
            "recovered": counters.recovered_count,
            "refused": counters.refused_count,
            "conflated": self.lanes.conflated_count,
        }

    def feed_facts(self) -> dict[str, Any]:
        """Report how whole the feed was, under the names of the summary."""
        counters = self.feed.counters
        return {
            "gaps": counters.gap_count,
            "resyncs": counters.resync_count,
            "reconnects": counters.reconnect_count,
            "repeated": counters.repeated_count,
            "late": counters.late_count,
            "audits": counters.audit_count,
            "audits_failed": counters.audit_failed_count,
            "skew_ns": counters.skew_ns,
            "waiting_max": self.lanes.waiting_count_max,
            "not_ok_ns": counters.not_ok_ns,
        }


@asynccontextmanager
async def assemble(settings: Settings, clock: Clock, log: Log, run_id: str) -> AsyncIterator[Parts]:
    """Open a run and close it again; raises StartRefused when it cannot be opened."""
    async with AsyncExitStack() as stack:
        site = _Site(
            stack=stack,
            settings=settings,
            clock=clock,
            log=log,
            run_id=run_id,
            generator=np.random.default_rng(int.from_bytes(os.urandom(8), "big")),
        )
        try:
            parts = await _open(site)
        except ConfigError as error:
            raise StartRefused(str(error), EXIT_CONFIG) from error
        except (BundleError, JournalError, KeyRefusedError) as error:
            raise StartRefused(str(error), EXIT_CONFIG) from error
        except GuardError as error:
            raise StartRefused(str(error), EXIT_FAILED) from error
        except ExchangeError as error:
            code = EXIT_REFUSED if error.is_refused else EXIT_FAILED
            raise StartRefused(str(error), code) from error
        except (TimeoutError, *VENUE_ERRORS) as error:
            raise StartRefused(f"{settings.venue} cannot be used: {error}", EXIT_FAILED) from error
        yield parts


@dataclass(slots=True, kw_only=True)
class _Site:
    """What every step of opening a run needs; ``stack`` closes in reverse what they opened."""

    stack: AsyncExitStack
    settings: Settings
    clock: Clock
    log: Log
    run_id: str
    generator: np.random.Generator

    def note(self, event: str, **fields: Any) -> None:
        self.log.note(Note(event=event, event_ns=self.clock.now_ns(), fields=fields))


async def _open(site: _Site) -> Parts:
    settings = site.settings
    sha256 = settings_sha256(settings)
    site.note("config_loaded", preset=settings.preset, mode=settings.mode, sha256=sha256)
    credentials = load_credentials(settings, os.environ)
    if credentials is not None:
        site.log.hide(credentials.api_key, credentials.api_secret)
    model, bundle, exchange = await _open_model_and_exchange(site)
    venue = await connect(settings, credentials, exchange.access if exchange else None)
    site.stack.push_async_callback(venue.close)
    await _check_key(site, venue)
    instruments = load_instruments(venue, _symbols(site, venue))
    journal = _open_journal(site, instruments)
    journal.record_run({"settings_sha256": sha256, "bundle_sha256": bundle.sha256})
    site.note("run_started", mode=settings.mode, venue=settings.venue)
    parts = await _wire(site, venue, instruments, journal, model, bundle, exchange, sha256)
    await recover_account(parts)
    take_over_latch(journal.path.parent, parts.engine, site.note, site.clock.now_ns())
    parts.guard = await open_guard(parts, credentials)
    if parts.guard is not None:
        site.stack.push_async_callback(parts.guard.close)
        parts.dispatcher.call_guard = parts.guard.flatten
    warm_up()
    site.note("warm_up_finished")
    _take_over_process(site, parts.collector, parts.feed)
    keeper = Supervisor(site.clock, site.log.note, site.generator)
    site.stack.push_async_callback(keeper.close)
    keeper.spawn_forever("keep warm", parts.gateway.keep_warm)
    volumes = DayVolumes(venue, instruments, parts.lanes.put, site.clock)
    keeper.spawn_forever("day volumes", volumes.keep)
    if isinstance(venue, PaperBinanceUsdm):
        keeper.spawn_forever("paper venue", venue.paper.keep_house)
    if parts.gateway.socket is not None:
        keeper.spawn_forever("order socket", parts.gateway.socket.keep)
    await parts.feed.start()
    return parts


def _take_over_process(site: _Site, collector: Collector, feed: Feed) -> None:
    """Collect garbage and choose cores ourselves from here on."""
    collector.begin(lambda: feed.counters.reconnect_count)
    site.stack.callback(collector.close)
    try:
        keep_to_cores(site.settings.latency.cpu_affinity)
    except ValueError as error:
        raise StartRefused(str(error), EXIT_CONFIG) from error


async def _check_key(site: _Site, venue: TapBinanceUsdm) -> None:
    """Say what the key may do; KeyRefusedError for one that can withdraw, or cannot trade."""
    rights = await check_key(venue, site.settings)
    if rights is not None:
        site.note("key_checked", moves=list(rights.moves), is_bound=rights.is_bound)
        for worry in rights.worries:
            site.note("key_worry", reason=worry)


async def _wire(
    site: _Site,
    venue: TapBinanceUsdm,
    instruments: tuple[Instrument, ...],
    journal: Journal,
    model: Model,
    bundle: Bundle,
    exchange: Exchange | None,
    sha256: str,
) -> Parts:
    """Build the engine on the venue's own account and connect everything around it."""
    settings, clock = site.settings, site.clock
    shelf, metrics = Shelf(model, bundle), Metrics()
    send_watch, probe = SendWatch(metrics), StageProbe(clock, metrics)
    lanes, socket = _open_ways(site, venue, instruments, journal)
    gateway = OrderGateway(
        *(venue, instruments, lanes, clock, site.log.note, metrics.record),
        generator=site.generator,
        on_sent=send_watch.sent,
        socket=socket,
    )
    gateway.use(settings.execution)
    site.stack.push_async_callback(gateway.close)
    opening = await fetch_account(venue, instruments, clock)
    site.note("account_adopted", position_lots=list(opening.position_lots))
    engine = Engine(
        instruments=instruments,
        settings=settings,
        run_id=site.run_id,
        decider=Decider(model, settings, len(instruments), named(bundle), shelf),
        opening=opening,
        probe=probe,
    )
    dispatcher = Dispatcher(
        settings=settings,
        instruments=instruments,
        expert_names=expert_names(bundle.agents),
        journal=journal,
        gateway=gateway,
        lanes=lanes,
        log=site.log,
        metrics=metrics,
        clock=clock,
        send_watch=send_watch,
        after_sends=asyncio.get_running_loop().call_soon,
    )
    return Parts(
        settings=settings,
        settings_sha256=sha256,
        run_id=site.run_id,
        clock=clock,
        generator=site.generator,
        log=site.log,
        metrics=metrics,
        health=Health(os.environ),
        journal=journal,
        bundle=bundle,
        shelf=shelf,
        lanes=lanes,
        instruments=instruments,
        engine=engine,
        probe=probe,
        venue=venue,
        feed=_make_feed(site, venue, instruments, lanes, metrics),
        gateway=gateway,
        dispatcher=dispatcher,
        exchange=exchange,
        event_log=_open_event_log(site, journal, bundle, model, venue, instruments, opening),
        collector=Collector(clock, metrics.recorder("collect")),
    )


def _open_ways(
    site: _Site, venue: TapBinanceUsdm, instruments: tuple[Instrument, ...], journal: Journal
) -> tuple[Lanes, OrderSocket | None]:
    """Make the lanes, and the socket for orders; on paper the lanes move the account's market."""
    size = (len(instruments), site.settings.feed.lane_events_max)
    if not isinstance(venue, PaperBinanceUsdm):
        return Lanes(*size), OrderSocket(venue, site.clock, site.log.note, generator=site.generator)
    path = journal.path.parent / PAPER_ACCOUNT
    paper = venue.open_account(instruments, site.settings.paper, site.clock, path)
    site.stack.callback(paper.close)
    return PaperLanes(*size, paper), None


def _open_event_log(
    site: _Site,
    journal: Journal,
    bundle: Bundle,
    model: Model,
    venue: TapBinanceUsdm,
    instruments: tuple[Instrument, ...],
    opening: AccountState,
) -> EventLog | None:
    """Open the event log beside the journal; JournalError when that fails."""
    try:
        log = open_event_log(
            site.settings,
            journal.path.parent,
            run_id=site.run_id,
            bundle=bundle,
            runtime=model.runtime,
            instruments=instruments,
            opening=opening,
            account=account_fingerprint(venue.account_id),
            started_ns=site.clock.now_ns(),
        )
    except OSError as error:
        raise JournalError(f"event log: {error}") from error
    if log is not None:
        site.stack.callback(_close_event_log, log, site)
    return log


def _close_event_log(log: EventLog, site: _Site) -> None:
    if not log.close():
        site.note("journal_error", reason=f"event log: {log.lost_count} turns lost: {log.error}")


def _make_feed(
    site: _Site,
    venue: TapBinanceUsdm,
    instruments: tuple[Instrument, ...],
    lanes: Lanes,
    metrics: Metrics,
) -> Feed:
    """Make the feed; whenever its user stream connects, the venue's account is read anew."""

    async def reconcile() -> None:
        lanes.put(await fetch_account(venue, instruments, site.clock))

    feed = Feed(
        venue,
        instruments,
        lanes,
        site.settings.feed,
        site.clock,
        site.log.note,
        generator=site.generator,
        record=metrics.record,
        on_user_connect=reconcile,
    )
    site.stack.push_async_callback(feed.close)
    return feed


async def _open_model_and_exchange(
    site: _Site,
) -> tuple[Model, Bundle, Exchange | None]:
    """Open both at once: the exchange compiles in its own process while we load the model."""
    opening_exchange = asyncio.create_task(_open_exchange(site))
    await asyncio.sleep(0)  # the child starts before the model blocks this loop
    try:
        model, bundle = load_first_model(site.settings, site.clock, site.log.note)
    except BaseException:
        await asyncio.wait((opening_exchange,))
        raise
    status = bundle.manifest.status
    site.note("bundle_loaded", bundle=bundle.name, sha256=bundle.sha256, status=status)
    return model, bundle, await opening_exchange


async def _open_exchange(site: _Site) -> Exchange | None:
    settings = site.settings
    if settings.venue != "sim":
        return None
    exchange: Exchange
    if settings.simulated.attach:
        exchange = attach(Path(settings.simulated.attach))
    else:
        exchange = await start_exchange(settings.simulated, settings.instruments)
    site.stack.push_async_callback(exchange.stop)
    access = exchange.access
    site.log.hide(access.api_key, access.api_secret)
    site.note("exchange_started", address=f"https://{access.host}:{access.port}", pid=access.pid)
    return exchange


def _open_journal(site: _Site, instruments: tuple[Instrument, ...]) -> Journal:
    """Open the journal of this mode: simulated orders must never settle real ones."""
    directory = journal_directory(site.settings.journal.directory, os.environ)
    with contextlib.suppress(OSError):  # the journal itself says what is wrong with the place
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # a parent would get 0755
    journal = Journal(
        directory / site.settings.mode,
        site.run_id,
        site.settings.journal.sync,
        instruments=[instrument.symbol for instrument in instruments],
        started_ns=site.clock.now_ns(),
    )
    site.stack.callback(_close_journal, journal, site)
    return journal


def _close_journal(journal: Journal, site: _Site) -> None:
    if not journal.close(site.clock.now_ns()):
        site.note("journal_error", reason=f"not all was written: {journal.writer_error}")


def _symbols(site: _Site, venue: TapBinanceUsdm) -> tuple[str, ...]:
    """Return what to trade: a recording may hold fewer instruments than are configured."""
    settings = site.settings
    if not settings.simulated.capture or settings.venue != "sim":
        return settings.instruments
    present = tuple(symbol for symbol in settings.instruments if symbol in venue.markets)
    if not present:
        listed = ", ".join(sorted(venue.markets))
        raise StartRefused(
            f"{settings.simulated.capture} holds {listed}, none of {list(settings.instruments)}",
            EXIT_REFUSED,
        )
    if present != settings.instruments:
        absent = sorted(set(settings.instruments) - set(present))
        site.note("instruments_absent", absent=absent, capture=settings.simulated.capture)
    return present
