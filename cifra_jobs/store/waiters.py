"""`Waiters`: any number of threads and event loops wait for tasks over one subscription.

A wait is a `Watch` (which reads the record, and asks for news) and then silence until the news.
After a break of the subscription every open watch is made anew, so that nothing said meanwhile
is missed. Everybody who waits for one id shares one watch.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

from cifra_jobs.errors import StoreUnavailable, TaskNotFound
from cifra_jobs.jobs.state import TaskRecord
from cifra_jobs.log import get_logger
from cifra_jobs.postbox import postbox_of
from cifra_jobs.store import wire
from cifra_jobs.store.base import Get, Subscription, Unwatch, Watch
from cifra_jobs.store.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.store.base import StateStore
    from cifra_jobs.store.group_commit import GroupCommit, Outcome

__all__ = ["Waiters"]

_log = get_logger("cifra.store")


@dataclass(slots=True, eq=False)
class _Watched:
    """One id that somebody awaits or follows."""

    task_id: str
    futures: list[Future[TaskRecord]] = field(default_factory=list)
    followers: list[Callable[[TaskRecord], None]] = field(default_factory=list)
    #: The last that is known, for a follower who joins late.
    latest: TaskRecord | None = None

    @property
    def is_idle(self) -> bool:
        """Nobody is left."""
        return not self.futures and not self.followers


class Waiters:
    """The waits of one process.

    The news brings state, progress, result and error; names, times and counts of a record are as
    they were when the wait began (`Get` has them fresh).

    Args:
        commit: carries the reads.
        store: carries the news.
    """

    def __init__(self, commit: GroupCommit, store: StateStore) -> None:
        self._commit = commit
        self._store = store
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Forget all waits: in a forked child nobody is left who waits."""
        self._lock = threading.Lock()
        self._table: dict[str, _Watched] = {}
        #: Random, so that no other process hears our news.
        self._channel = secrets.token_hex(6)
        self._subscription: Subscription | None = None
        self._is_opening = False

    def wait_final(self, task_id: str) -> Future[TaskRecord]:
        """The record of a task once it has ended. Never blocks.

        The future fails with `TaskNotFound` for an id that is not known (any more), and with
        `StoreUnavailable` when the store cannot be asked now; a wait that has begun outlives a
        break. ``cancel()`` ends the wait.
        """
        future: Future[TaskRecord] = Future()
        with self._lock:
            watched, is_new = self._watched(task_id)
            watched.futures.append(future)
        future.add_done_callback(lambda done: self._dropped(watched, done))
        self._begin(watched, is_new=is_new)
        return future

    async def await_final(self, task_id: str) -> TaskRecord:
        """As `wait_final`, for a coroutine; cancelling it ends the wait.

        Raises:
            TaskNotFound: see `wait_final`.
            StoreUnavailable: see `wait_final`.
        """
        loop = asyncio.get_running_loop()
        postbox = postbox_of(loop)
        here: asyncio.Future[Future[TaskRecord]] = loop.create_future()
        there = self.wait_final(task_id)

        def resolve(done: Future[TaskRecord]) -> None:
            if not here.done():
                here.set_result(done)

        there.add_done_callback(lambda done: postbox.post(resolve, done))
        try:
            return (await here).result()
        except asyncio.CancelledError:
            there.cancel()
            raise

    def follow(self, task_id: str, on_news: Callable[[TaskRecord], None]) -> Subscription:
        """Call ``on_news`` with the record as it is, and then with each news until the end.

        It is called on the commit thread or the listening thread: be brief. An id that is not
        known gives nothing until somebody sends it.
        """
        with self._lock:
            watched, is_new = self._watched(task_id)
            watched.followers.append(on_news)
            latest = watched.latest
        if latest is not None:
            on_news(latest)
        self._begin(watched, is_new=is_new)

        def leave() -> None:
            with self._lock:
                if on_news in watched.followers:
                    watched.followers.remove(on_news)
            self._leave_if_idle(watched)

        return Subscription(leave)

    def close(self) -> None:
        """End the subscription; open waits are cancelled."""
        with self._lock:
            subscription = self._subscription
            self._subscription = None
            open_waits = list(self._table.values())
            self._table.clear()
        if subscription is not None:
            subscription.close()
        for watched in open_waits:
            for future in watched.futures:
                future.cancel()

    # ── asking ──

    def _watched(self, task_id: str) -> tuple[_Watched, bool]:
        watched = self._table.get(task_id)
        if watched is not None:
            return watched, False
        watched = self._table[task_id] = _Watched(task_id)
        return watched, True

    def _begin(self, watched: _Watched, *, is_new: bool) -> None:
        with self._lock:
            is_open = self._subscription is not None
            must_open = not is_open and not self._is_opening
            self._is_opening |= must_open
        if must_open:
            # Not here: an event loop must not wait for the connection.
            threading.Thread(target=self._open, name="cifra-waiters", daemon=True).start()
        elif is_open and is_new:
            self._ask(watched, keep=False)

    def _open(self) -> None:
        try:
            subscription = self._store.subscribe(self._channel, self._take_news, self._ask_again)
        except BaseException:
            # The next wait tries again; until then nobody would.
            with self._lock:
                self._is_opening = False
            raise
        with self._lock:
            self._subscription, self._is_opening = subscription, False
            waiting = list(self._table.values())
        for watched in waiting:
            self._ask(watched, keep=False)

    def _ask_again(self) -> None:
        """The subscription is back: what was said meanwhile has to be read."""
        with self._lock:
            waiting = list(self._table.values())
        for watched in waiting:
            self._ask(watched, keep=True)

    def _ask(self, watched: _Watched, *, keep: bool) -> None:
        def done(outcome: Outcome) -> None:
            self._read(watched, outcome, is_first=not keep)

        try:
            self._commit.submit([Watch(watched.task_id, self._channel)], done, keep=keep)
        except StoreUnavailable as error:
            self._fail(watched, error)

    def _leave_if_idle(self, watched: _Watched) -> None:
        with self._lock:
            if not watched.is_idle or self._table.get(watched.task_id) is not watched:
                return
            del self._table[watched.task_id]
            try:
                # Under the lock: a new watch of the same id must come after this.
                self._commit.submit([Unwatch(watched.task_id, self._channel)])
            except StoreUnavailable as error:
                _log.debug(
                    "store.waiters.unwatch_failed", task_id=watched.task_id, error=str(error)
                )

    def _dropped(self, watched: _Watched, future: Future[TaskRecord]) -> None:
        if future.cancelled():
            with self._lock:
                if future in watched.futures:
                    watched.futures.remove(future)
            self._leave_if_idle(watched)

    # ── hearing ──

    def _read(self, watched: _Watched, outcome: Outcome, *, is_first: bool) -> None:
        if isinstance(outcome, StoreUnavailable):
            self._fail(watched, outcome)
        elif outcome[0] is None:
            self._fail(watched, TaskNotFound(watched.task_id))
        else:
            record = cast("TaskRecord", outcome[0])
            # News may have overtaken the first read.
            if record.is_terminal or not (is_first and watched.latest):
                self._tell(watched, record)

    def _take_news(self, payload: str) -> None:
        news, is_whole = wire.news_record(payload)
        with self._lock:
            watched = self._table.get(news.task_id)
        if watched is None:
            return
        if is_whole:
            self._tell(watched, _merged(watched.latest, news))
            return
        self._commit.submit(
            [Get(news.task_id)],
            lambda outcome: self._read(watched, outcome, is_first=False),
            keep=True,
        )

    def _tell(self, watched: _Watched, record: TaskRecord) -> None:
        with self._lock:
            if self._table.get(watched.task_id) is not watched:
                return
            watched.latest = record
            followers, futures = list(watched.followers), []
            if record.is_terminal:
                del self._table[watched.task_id]
                futures, watched.futures = watched.futures, []
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_result(record)
        for on_news in followers:
            try:
                on_news(record)
            except Exception:  # noqa: BLE001 - a follower's own mistake must not deafen the others
                _log.exception("store.waiters.follower_failed", task_id=watched.task_id)

    def _fail(self, watched: _Watched, error: Exception) -> None:
        with self._lock:
            futures, watched.futures = watched.futures, []
            if not watched.followers and self._table.get(watched.task_id) is watched:
                del self._table[watched.task_id]
        for future in futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


def _merged(before: TaskRecord | None, news: TaskRecord) -> TaskRecord:
    """What was read before, with what the news says."""
    if before is None:
        return news
    return replace(
        before,
        state=news.state,
        progress=news.progress,
        message=news.message,
        stage=news.stage,
        meta=news.meta,
        result=news.result,
        error=news.error,
    )
