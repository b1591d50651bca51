"""Bring new model bundles into a running daemon: watch, verify, warm, offer; undo when slow.

A sub-directory of ``model.directory`` is complete when its manifest is there (rename it in last).
It is copied into the store, verified and warmed in a thread, then offered to the engine as an
event; ``daemon.rollout`` takes it from there. What is refused is said once and never loaded again
until its manifest changes. Nothing here blocks a decision.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import watchfiles

from daemon import model_store
from daemon.assembly import Parts
from daemon.control import RefusedError
from daemon.effects import ModelMoved, Note
from daemon.model_check import NS_PER_US, TimedJudge, verify
from daemon.model_signature import check_signature
from daemon.model_store import Records, Verdict
from daemon.rollout import Stage
from kernels.events import BundleOffered, BundleWithdrawn
from strategy.bundle import MANIFEST_NAME, Bundle, BundleError, read_files

RESCAN_MS = 1_000
"""The directory is looked at this often even when the kernel reports nothing."""
DIRECTORIES_MAX = 256
WAITING_MAX = 4
APPLY_TIMEOUT_S = 5.0
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

STEPS = {
    "shadow": "model_shadowing",
    "canary": "model_canary",
    "probation": "model_promoted",
    "settled": "model_settled",
    "rolled_back": "model_rolled_back",
    "dropped": "model_dropped",
    "refused": "bundle_refused",
}
"""Log event of every step."""

Words = dict[str, Any]
Key = tuple[int, ...]


class HotSwap:
    """One per daemon; idle without a models directory, but operators may always ask."""

    def __init__(self, parts: Parts) -> None:
        """Read the records; nothing is watched before ``run``."""
        self._parts = parts
        self._state = parts.journal.path.parent / model_store.DIRECTORY
        self._seen: dict[str, Key] = {}
        self._waiting: deque[Bundle] = deque()
        self._withdrawn = ""
        self._answer: tuple[str, asyncio.Future[ModelMoved]] | None = None
        self._lock = asyncio.Lock()
        self._writes: set[asyncio.Task[None]] = set()
        self._write_lock = asyncio.Lock()
        try:
            self._records = model_store.read_records(self._state)
        except ValueError as error:
            self._records = Records()
            self._note("model_store_error", reason=str(error))

    # the directory ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Watch the directory until cancelled; what is there already counts as dropped in."""
        directory = Path(self._parts.settings.model.directory).expanduser()
        unwatched = ""
        while True:
            try:
                await self._scan(directory)
                async for _ in watchfiles.awatch(
                    directory,
                    step=50,
                    debounce=200,
                    rust_timeout=RESCAN_MS,
                    yield_on_timeout=True,
                    raise_interrupt=False,
                ):
                    unwatched = ""
                    await self._scan(directory)
            except (OSError, RuntimeError) as error:  # gone, no permission, out of watches
                if unwatched != str(error):
                    unwatched = str(error)
                    self._note("models_unwatched", directory=str(directory), reason=unwatched)
            await asyncio.sleep(RESCAN_MS / 1_000)

    async def close(self) -> None:
        """Finish what is being written."""
        await asyncio.gather(*self._writes, return_exceptions=True)

    def tend(self) -> None:
        """Withdraw a newcomer that is too slow; called by the loop between two drains."""
        seat = self._parts.engine.decider.rollout.watched
        if seat is None or not isinstance(seat.model.judge, TimedJudge):
            return
        limit_ns = self._parts.settings.model.latency_us_max * NS_PER_US
        slow_ns = seat.model.judge.slow_ns(limit_ns)
        if slow_ns is not None and self._withdrawn != seat.bundle.sha256:
            self._withdrawn = seat.bundle.sha256
            reason = f"answers in {slow_ns // NS_PER_US} us, allowed {limit_ns // NS_PER_US}"
            self._withdraw(seat.bundle.sha256, reason)

    async def _scan(self, directory: Path) -> None:
        found = await asyncio.to_thread(_complete, directory)
        self._seen = {name: key for name, key in self._seen.items() if name in found}
        for name, key in found.items():
            if self._seen.get(name) == key:
                continue
            self._seen[name] = key
            try:
                bundle = await self._verify(directory / name)
            except (BundleError, OSError) as error:
                reason = error.reason if isinstance(error, BundleError) else str(error)
                self._note("bundle_refused", bundle=name, reason=reason)
                continue
            known = self._known(bundle.sha256)
            if known:
                self._note("bundle_known", bundle=name, sha256=bundle.sha256, verdict=known)
                continue
            self._waiting.append(bundle)
            while len(self._waiting) > WAITING_MAX:
                old = self._waiting.popleft()
                self._note("bundle_refused", bundle=old.name, reason="newer ones came before it")
        self._forget()
        if self._waiting and self._parts.engine.decider.rollout.stage is Stage.SETTLED:
            await self._offer(self._waiting.popleft(), skip_shadow=False)

    async def _verify(self, path: Path) -> Bundle:
        """Store, verify and warm a bundle in a thread; BundleError, OSError."""
        parts = self._parts
        active = parts.engine.decider.rollout.active.model
        # the form of the run: a replay must find the same one, and "auto" would measure again
        knobs = parts.settings.model.model_copy(update={"runtime": active.runtime})
        settings = parts.settings.model_copy(update={"model": knobs})

        def check() -> tuple[Any, Bundle]:
            contents = read_files(path)
            if path.parent != self._state:  # what is stored was proven when it came in
                check_signature(path, contents[MANIFEST_NAME], parts.settings)
            stored, is_new = model_store.put_bundle(self._state, contents)
            try:
                return verify(stored, settings, active.agent_names, parts.clock)
            except BundleError as error:
                if is_new:
                    shutil.rmtree(stored, ignore_errors=True)
                raise BundleError(path, error.reason) from error

        async with self._lock:
            model, bundle = await asyncio.to_thread(check)
        if bundle.sha256 not in parts.shelf.models:
            parts.shelf.put(model, bundle)
        return bundle

    def _known(self, sha256: str) -> str:
        """Say what is known of a bundle; empty for a new one."""
        if sha256 == self._parts.bundle.sha256:
            return "it decides"
        if any(each.sha256 == sha256 for each in self._waiting):
            return "it waits"
        verdict = self._records.verdicts.get(sha256)
        return f"{verdict.verdict}: {verdict.reason}" if verdict else ""

    async def _offer(self, bundle: Bundle, *, skip_shadow: bool) -> None:
        """Back up what decides now, then let the engine take the newcomer."""
        parts = self._parts
        if parts.settings.meta.auto_backup_enabled:
            now = parts.bundle
            try:
                await asyncio.to_thread(
                    model_store.back_up, self._state, now.path, now.name, parts.clock.now_ns()
                )
            except OSError as error:
                self._note("model_store_error", reason=f"no backup of {now.name}: {error}")
        self._withdrawn = ""
        parts.lanes.put(
            BundleOffered(
                received_ns=parts.clock.now_ns(),
                name=bundle.name,
                sha256=bundle.sha256,
                path=str(bundle.path),
                skip_shadow=skip_shadow,
            )
        )

    def _withdraw(self, sha256: str, reason: str) -> None:
        now_ns = self._parts.clock.now_ns()
        self._parts.lanes.put(BundleWithdrawn(received_ns=now_ns, sha256=sha256, reason=reason))

    # steps ------------------------------------------------------------------------------------

    def moved(self, move: ModelMoved) -> None:
        """Log a step that the engine took, and keep what follows from it."""
        parts = self._parts
        rollout = parts.engine.decider.rollout
        parts.bundle = parts.shelf.bundles.get(rollout.active.bundle.sha256, parts.bundle)
        note = Note(
            event=STEPS[move.step],
            event_ns=parts.engine.now_ns,
            fields={
                "bundle": move.name,
                "sha256": move.sha256,
                "reason": move.reason,
                "decisions": move.decisions,
                "votes": list(move.votes),
                "deciding": rollout.active.bundle.name,
            },
        )
        parts.dispatcher.note(note)
        if not parts.dispatcher.is_alert(note):
            parts.journal.record_note(note)
        seat = parts.shelf.bundles.get(move.sha256)
        verdict = Verdict(
            name=move.name,
            sha256=move.sha256,
            path=str(seat.path) if seat else "",
            verdict=move.step,
            reason=move.reason,
            at_ns=parts.engine.now_ns,
        )
        if move.step in ("settled", "rolled_back"):
            self._records = replace(self._records, good=rollout.active.bundle)
        if move.step in ("settled", "rolled_back", "dropped"):
            self._records = self._records.judged(verdict)
            self._keep_records()
        if self._answer is not None and self._answer[0] == move.sha256:
            future = self._answer[1]
            if not future.done() and move.reason != _SUPERSEDED:
                future.set_result(move)

    def _keep_records(self) -> None:
        records, used = self._records, self._used()

        async def write() -> None:
            async with self._write_lock:
                try:
                    await asyncio.to_thread(model_store.write_records, self._state, records)
                    await asyncio.to_thread(model_store.prune, self._state, used)
                except OSError as error:
                    self._note("model_store_error", reason=str(error))

        task = asyncio.get_running_loop().create_task(write(), name="model records")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    def _used(self) -> set[str]:
        state = self._parts.engine.decider.rollout.state
        seats = (state.active, state.previous, state.candidate, self._records.good)
        waiting = {each.sha256 for each in self._waiting}
        return waiting | {each.sha256 for each in seats if each is not None}

    def _forget(self) -> None:
        """Let go of loaded models that nobody can need; an offer on its way keeps them all."""
        if not self._parts.lanes.waiting_count and self._answer is None:
            self._parts.shelf.keep_only(self._used())

    # operators --------------------------------------------------------------------------------

    async def listed(self, _: Words) -> Words:
        """Answer ``models list``."""
        rollout = self._parts.engine.decider.rollout
        state = rollout.state
        seats = {"deciding": state.active, "last_good": state.previous, "shadow": state.candidate}
        return {
            "stage": state.stage,
            "decisions_in_stage": rollout.newcomer.decisions,
            **{
                role: {"name": seat.name, "sha256": seat.sha256} if seat else None
                for role, seat in seats.items()
            },
            "waiting": [each.name for each in self._waiting],
            "pinned": self._records.good.name if self._records.good else None,
            "directory": self._parts.settings.model.directory,
            "verdicts": [
                {
                    "name": each.name,
                    "sha256": each.sha256[:12],
                    "verdict": each.verdict,
                    "reason": each.reason,
                }
                for each in self._records.verdicts.values()
            ][-50:],
        }

    async def promote(self, request: Words) -> Words:
        """Answer ``models promote NAME``: verify it, then let it decide, on probation."""
        path = self._find(str(request.get("bundle", "")))
        rollout = self._parts.engine.decider.rollout
        if rollout.stage not in (Stage.SETTLED, Stage.SHADOW) or self._answer is not None:
            raise RefusedError(f"another bundle is in {rollout.stage}; wait, or roll it back")
        try:
            bundle = await self._verify(path)
        except (BundleError, OSError) as error:
            raise RefusedError(str(error)) from None
        waiter = asyncio.get_running_loop().create_future()
        self._answer = (bundle.sha256, waiter)
        self._waiting = deque(each for each in self._waiting if each.sha256 != bundle.sha256)
        try:
            if rollout.candidate is not None:
                self._withdraw(rollout.candidate.bundle.sha256, _SUPERSEDED)
            await self._offer(bundle, skip_shadow=True)
            return await self._applied(waiter)
        finally:
            self._answer = None

    async def rollback(self, request: Words) -> Words:
        """Answer ``models rollback``: drop the newcomer, or bring back the bundle before."""
        rollout = self._parts.engine.decider.rollout
        seat = rollout.candidate or rollout.active
        if self._answer is not None or (rollout.candidate is None and rollout.previous is None):
            raise RefusedError("no earlier bundle is loaded; models promote NAME takes one")
        waiter = asyncio.get_running_loop().create_future()
        self._answer = (seat.bundle.sha256, waiter)
        reason = " ".join(str(request.get("reason") or "no reason given").split())[:300]
        try:
            self._withdraw(seat.bundle.sha256, f"operator: {reason}")
            return await self._applied(waiter)
        finally:
            self._answer = None

    async def _applied(self, waiter: asyncio.Future[ModelMoved]) -> Words:
        async with asyncio.timeout(APPLY_TIMEOUT_S):
            move = await waiter
        if move.step == "refused":
            raise RefusedError(move.reason)
        deciding = self._parts.engine.decider.rollout.active.bundle
        return {
            "step": move.step,
            "bundle": move.name,
            "reason": move.reason,
            "deciding": {"name": deciding.name, "sha256": deciding.sha256},
        }

    def _find(self, name: str) -> Path:
        """Find a bundle by directory name, or by name or hash among those judged before."""
        if not NAME.fullmatch(name):
            raise RefusedError("a bundle is named by letters, digits, dots, dashes")
        configured = self._parts.settings.model.directory
        dropped = Path(configured).expanduser() / name
        if configured and (dropped / MANIFEST_NAME).is_file():
            return dropped
        for each in reversed(list(self._records.verdicts.values())):
            if name == each.name or (len(name) >= 12 and each.sha256.startswith(name)):
                return self._state / each.sha256
        raise RefusedError(f"no bundle {name!r} in the models directory or among those judged")

    def _note(self, event: str, **fields: Any) -> None:
        now_ns = self._parts.clock.now_ns()
        self._parts.dispatcher.note(Note(event=event, event_ns=now_ns, fields=fields))


_SUPERSEDED = "promoted by operator instead"


def _complete(directory: Path) -> dict[str, Key]:
    """List complete sub-directories, each with what tells one state of it from another."""
    found: dict[str, Key] = {}
    for path in sorted(directory.iterdir())[:DIRECTORIES_MAX]:
        if path.name.startswith("."):
            continue
        try:
            own = path.lstat()
            if path.is_symlink():
                found[path.name] = (own.st_ino, own.st_mtime_ns)  # verified, and refused, as a link
            elif path.is_dir():
                manifest = (path / MANIFEST_NAME).lstat()
                found[path.name] = (own.st_ino, manifest.st_ino, manifest.st_mtime_ns)
        except OSError:
            continue  # half there, or renamed away meanwhile: the next look tells
    return found
