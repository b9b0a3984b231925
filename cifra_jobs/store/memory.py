"""`MemoryStore`: the same contract in one process, for ``broker.type: memory`` and for tests."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from cifra_jobs.clock import Clock, system_clock
from cifra_jobs.jobs.state import FINAL_STATES, TaskState, can_move
from cifra_jobs.store import keys
from cifra_jobs.store.base import (
    Beat,
    Claim,
    ClaimReply,
    Created,
    Finish,
    Get,
    Gone,
    Live,
    Operation,
    Progress,
    Release,
    Reply,
    Revoke,
    SendFailed,
    Stage,
    Started,
    Subscription,
    Unwatch,
    Watch,
)
from cifra_jobs.store.forks import renew_after_fork
from cifra_jobs.store.memory_channels import MemoryChannels
from cifra_jobs.store.memory_shelf import Entry, Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["MemoryStore"]


class MemoryStore:
    """A `StateStore` that lives and dies with the process.

    Args:
        clock: when records and results expire.
    """

    def __init__(self, *, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._verbs: dict[type, Callable[[Any], Reply]] = {
            Beat: self._beat,
            Claim: self._claim,
            Created: self._created,
            Finish: self._finish,
            Get: self._get,
            Gone: self._gone,
            Live: self._live,
            Progress: self._progress,
            Release: self._release,
            Revoke: self._revoke,
            SendFailed: self._send_failed,
            Stage: self._stage,
            Started: self._started,
            Unwatch: self._unwatch,
            Watch: self._watch,
        }
        self.renew()
        renew_after_fork(self)

    def commit(self, operations: Sequence[Operation]) -> list[Reply]:
        """See `StateStore.commit`; never unavailable."""
        with self._lock:
            self._shelf.forget_expired()
            return [self._verbs[type(operation)](operation) for operation in operations]

    def publish(self, channel: str, payload: str) -> None:
        """See `StateStore.publish`."""
        self._channels.publish(channel, payload)

    def subscribe(
        self,
        channel: str,
        on_message: Callable[[str], None],
        on_reconnect: Callable[[], None] | None = None,  # noqa: ARG002 - nothing here breaks
    ) -> Subscription:
        """See `StateStore.subscribe`."""
        return self._channels.subscribe(channel, on_message)

    def check(self) -> dict[str, str]:
        """See `StateStore.check`: ``version`` is ``memory``; the number of ``records``."""
        with self._lock:
            return {"version": "memory", "records": str(len(self._shelf))}

    def close(self) -> None:
        """End the listening thread; records stay readable."""
        self._channels.close()

    def renew(self) -> None:
        """Start empty: what a forked child wrote could never reach its parent."""
        self._lock = threading.RLock()
        self._channels = MemoryChannels()
        self._shelf = Shelf(self._clock)
        self._workers: dict[str, tuple[str, int]] = {}

    # ── what a task goes through ──

    def _created(self, op: Created) -> Reply:
        entry = self._shelf.take(op.task_id, op.ttl_ms)
        task = entry.task
        if entry.is_known and not entry.is_send_failed:
            return str(task.state)
        entry.revive(op.state)
        task.task_name, task.queue, task.created_at = op.task_name, op.queue, op.created_at
        task.priority = op.priority
        task.eta = task.eta if op.eta is None else op.eta
        task.root_id = op.root_id or task.root_id
        task.parent_id = op.parent_id or task.parent_id
        self._shelf.live_on(entry, op.ttl_ms)
        return str(op.state)

    def _send_failed(self, op: SendFailed) -> Reply:
        entry = self._shelf.get(op.task_id)
        if entry is None or not entry.is_known:
            return None
        task = entry.task
        if entry.token is None and can_move(task.state, TaskState.FAILED):
            task.state, task.error, task.finished_at = TaskState.FAILED, op.error, op.now
            entry.is_send_failed = True
            self._tell(entry)
        return str(task.state)

    def _claim(self, op: Claim) -> Reply:  # noqa: C901 - the verdicts of one table, in its order
        entry = self._shelf.take(op.task_id, op.ttl_ms)
        task, has_run, deaths = entry.task, False, 0
        is_reopened = entry.has_ended and entry.reopen(op.replays)
        if entry.has_ended:
            if entry.is_handed_over:
                return ClaimReply("done", str(task.state))
            return ClaimReply("done", str(task.state), False, task.result, task.error)
        if is_reopened:
            self._shelf.live_on(entry, op.ttl_ms)
        elif not entry.is_known or entry.is_send_failed:
            if not entry.is_known:
                task.task_name, task.queue, task.created_at = op.task_name, op.queue, op.created_at
                self._shelf.live_on(entry, op.ttl_ms)
            entry.revive(TaskState.QUEUED)
        elif op.round < entry.round:
            return ClaimReply("stale")
        elif op.round == entry.round:
            if entry.is_held_by_another(op.token) and self._is_alive(task.worker):
                return ClaimReply("busy")
            has_run = task.state == TaskState.RUNNING
            if has_run and entry.is_held_by_another(op.token):
                entry.deaths += 1
                deaths = entry.deaths
        is_same_copy = op.round == entry.round
        entry.round, entry.token, task.worker = op.round, op.token, op.worker
        if op.now - op.created_at > op.ttl_ms // 2:
            self._shelf.live_on(entry, op.ttl_ms)
        is_fresh = task.result is not None and self._now() < entry.result_until
        if is_same_copy and entry.is_staged and is_fresh:
            return ClaimReply("staged", result=task.result)
        if task.revoked and not has_run:
            return ClaimReply("revoked")
        return ClaimReply("run", str(TaskState.RUNNING) if deaths else None, deaths=deaths)

    def _started(self, op: Started) -> Reply:
        entry = self._held(op.task_id, op.token)
        if entry is None:
            return False
        task = entry.task
        task.state, task.attempts, task.started_at = TaskState.RUNNING, op.attempts, op.now
        task.finished_at = None
        return True

    def _progress(self, op: Progress) -> Reply:
        entry = self._held(op.task_id, op.token)
        if entry is None:
            return False
        task = entry.task
        if op.progress is not None:
            task.progress = float(op.progress)
        if op.message is not None:
            task.message = op.message or None
        if op.stage is not None:
            task.stage = op.stage or None
        if op.meta is not None:
            task.meta = orjson.loads(op.meta)
        self._tell(entry)
        return True

    def _stage(self, op: Stage) -> Reply:
        entry = self._shelf.take(op.task_id, op.result_ttl_ms)
        if entry.has_ended or entry.is_held_by_another(op.token):
            return False
        entry.task.result, entry.result_until = op.result, self._now() + op.result_ttl_ms
        entry.is_staged = True
        return True

    def _finish(self, op: Finish) -> Reply:
        entry = self._shelf.take(op.task_id, op.ttl_ms)
        task = entry.task
        if entry.has_ended:
            entry.is_handed_over |= op.handed_over
            return "ok" if entry.token == op.token else "final"
        if entry.is_held_by_another(op.token) or (not entry.token and op.round < entry.round):
            return "lost"
        if not entry.is_known:
            task.task_name, task.queue, task.created_at = op.task_name, op.queue, op.created_at
        entry.revive(op.state)
        self._write_outcome(entry, op)
        self._shelf.live_on(entry, op.ttl_ms)
        self._tell(entry)
        return "ok"

    def _write_outcome(self, entry: Entry, op: Finish) -> None:
        task, is_final = entry.task, op.state in FINAL_STATES
        entry.round, entry.token = op.round, op.token if is_final else ""
        task.worker, task.attempts, task.started_at = op.worker, op.attempts, op.started_at
        task.finished_at = op.now if is_final else None
        task.eta = task.eta if op.eta is None else op.eta
        if op.error is not None or op.attempts > 1 or op.round:
            task.error = op.error
        if op.result is not None:
            task.result, entry.result_until = op.result, op.now + op.result_ttl_ms
        elif entry.is_staged and is_final and op.state != TaskState.SUCCESS:
            task.result, entry.result_until = None, 0
        entry.is_staged &= not is_final
        entry.is_handed_over = op.handed_over or not is_final

    def _release(self, op: Release) -> Reply:
        entry = self._held(op.task_id, op.token)
        if entry is None:
            return False
        entry.token = ""
        if entry.task.state == TaskState.RUNNING:
            entry.task.state = TaskState.QUEUED
        return True

    def _revoke(self, op: Revoke) -> Reply:
        entry = self._shelf.take(op.task_id, keys.REVOKE_UNKNOWN_MS)
        task = entry.task
        before = str(task.state) if entry.is_known else None
        if entry.has_ended:
            return before
        task.revoked = True
        is_idle = entry.is_known and task.state != TaskState.RUNNING and not entry.token
        if is_idle and can_move(task.state, TaskState.REVOKED):
            task.state, task.error, task.finished_at = TaskState.REVOKED, op.error, op.now
            entry.is_handed_over = False
            self._tell(entry)
        return before

    # ── reading and watching ──

    def _get(self, op: Get | Watch) -> Reply:
        entry = self._shelf.get(op.task_id)
        if entry is None or not entry.is_known:
            return None
        is_expired = bool(entry.result_until) and self._now() >= entry.result_until
        return replace(
            entry.task,
            meta=dict(entry.task.meta),
            result=None if is_expired else entry.task.result,
            result_expired=is_expired,
        )

    def _watch(self, op: Watch) -> Reply:
        entry = self._shelf.take(op.task_id, keys.WATCH_UNKNOWN_MS)
        is_over = entry.is_known and entry.task.is_terminal
        if not is_over and op.channel not in entry.channels:
            entry.channels.append(op.channel)
        return self._get(op)

    def _unwatch(self, op: Unwatch) -> Reply:
        entry = self._shelf.get(op.task_id)
        if entry is None or op.channel not in entry.channels:
            return False
        entry.channels.remove(op.channel)
        return True

    def _tell(self, entry: Entry) -> None:
        task = entry.task
        news: dict[str, Any] = {
            name: getattr(task, name) for name in ("state", "progress", "message", "stage", "meta")
        }
        news["id"] = task.task_id
        channels = entry.channels
        if task.is_terminal:
            news["error"] = task.error
            # As over Redis: a large result is not part of the news.
            if len(task.result or "") > keys.INLINE_RESULT_CHARS:
                news["large"] = True
            else:
                news["result"] = task.result
            entry.channels = []
        payload = orjson.dumps(news).decode()
        for channel in channels:
            self._channels.publish(channel, payload)

    # ── workers ──

    def _beat(self, op: Beat) -> Reply:
        self._workers[op.worker] = (op.info, self._now() + op.ttl_ms)
        return True

    def _gone(self, op: Gone) -> Reply:
        self._workers.pop(op.worker, None)
        return True

    def _live(self, _op: Live) -> Reply:
        return {
            worker: info for worker, (info, _) in self._workers.items() if self._is_alive(worker)
        }

    def _is_alive(self, worker: str | None) -> bool:
        _, until = self._workers.get(worker or "", ("", 0))
        return self._now() < until

    def _now(self) -> int:
        return self._clock.now_ms()

    def _held(self, task_id: str, token: str) -> Entry | None:
        """The entry, if this token holds it and the task has not ended."""
        entry = self._shelf.get(task_id)
        if entry is None or entry.token != token or entry.task.is_terminal:
            return None
        return entry
