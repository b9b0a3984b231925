"""`GroupCommit`: the writes of many tasks in one round trip, and none of them lost.

1. Whoever has operations submits them and goes on; one thread per process commits them.
2. There is no timer. While one round trip is under way the next batch gathers: an idle process
   pays one round trip for one operation, a busy one the same for hundreds.
3. Operations submitted with ``keep=True`` (outcomes) are put back when a round trip fails, in
   their order, and go first when the store is back. All others fail at once, and while the store
   is away further ones fail without waiting for it.
4. One operation that the store refuses is found by halving, and fails alone.

What waits here is bounded by whoever submits: a worker has at most its prefetch of unacked
deliveries, each with one outcome, and acks none before its outcome is committed.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from cifra_jobs.backoff import reconnect_delays
from cifra_jobs.errors import StoreUnavailable
from cifra_jobs.log import get_logger
from cifra_jobs.postbox import postbox_of
from cifra_jobs.store.base import Get, Operation, OperationRefused, Reply, StateStore
from cifra_jobs.store.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["GroupCommit", "Outcome"]

_log = get_logger("cifra.store")

#: Submissions of one round trip; more wait for the next one.
MAX_BATCH = 1000

#: Seconds that a lazy submission may wait for company, right after a commit.
_LAZY_S = 0.02

#: What ``done`` gets: a reply for each operation, or why there is none.
Outcome: TypeAlias = "list[Reply] | StoreUnavailable"


class _Submission(NamedTuple):
    operations: Sequence[Operation]
    done: Callable[[Outcome], None] | None
    keep: bool


class GroupCommit:
    """Many writers, one round trip. Safe from any thread and any event loop.

    A forked child starts with an empty queue and a thread of its own.

    Args:
        store: used by this object's thread alone while it lives.
        name: of the thread.
    """

    def __init__(self, store: StateStore, *, name: str = "cifra-commit") -> None:
        self._store = store
        self._name = name
        self.renew()
        renew_after_fork(self)

    def renew(self) -> None:
        """Forget queue and thread: in a forked child they belong to the parent."""
        self._lock = threading.Lock()
        self._queue: list[_Submission] = []
        self._in_flight: list[_Submission] = []
        self._thread: threading.Thread | None = None
        self._is_available = True
        #: Not answered since the last batch that was: `_delays` go on growing.
        self._was_away = False
        self._trouble = "the store is not available"
        self._closing = threading.Event()
        self._delays = reconnect_delays()
        #: The thread waits for `_awake`; whoever clears the flag releases it.
        self._is_idle = False
        #: It looks again by itself within `_LAZY_S`.
        self._is_warm = False
        self._awake = threading.Lock()
        self._awake.acquire()

    def submit(
        self,
        operations: Sequence[Operation],
        done: Callable[[Outcome], None] | None = None,
        *,
        keep: bool = False,
        is_lazy: bool = False,
    ) -> None:
        """Have operations committed soon, in order.

        Args:
            operations: they go into one round trip; submit together what may fail together.
            done: called on the commit thread with a reply for each operation, or with
                `StoreUnavailable` when they were not accepted (`OperationRefused` when one of
                them was refused: others of them may have been applied). Be brief: everybody's
                next round trip waits.
            keep: never give up for want of a store: ``done`` is called once they are accepted.
            is_lazy: nobody waits: right after a commit they may wait up to 20 ms for company,
                which makes a loop of single sends several times cheaper.

        Raises:
            StoreUnavailable: this object is closed.
        """
        with self._lock:
            if self._closing.is_set():
                raise StoreUnavailable("the store was closed: this process is shutting down")
            self._queue.append(_Submission(operations, done, keep))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            elif self._is_idle and not (is_lazy and self._is_warm):
                self._is_idle = False
                self._awake.release()

    def call(self, operations: Sequence[Operation], timeout_s: float) -> list[Reply]:
        """Commit and wait for the replies.

        Raises:
            StoreUnavailable: not accepted, or not answered within ``timeout_s``: then they may
                still be applied.
            RuntimeError: called on the commit thread, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a `done` callback cannot wait for another commit: submit it")
        answered = threading.Lock()
        answered.acquire()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            answered.release()

        self.submit(operations, done)
        if not answered.acquire(timeout=timeout_s):
            raise StoreUnavailable(f"the store did not answer within {timeout_s:g} s")
        return _replies(outcomes[0])

    async def acall(
        self, operations: Sequence[Operation], timeout_s: float | None = None
    ) -> list[Reply]:
        """Commit and await the replies; the event loop is woken once for a whole batch.

        Raises:
            StoreUnavailable: as in `call`.
        """
        loop = asyncio.get_running_loop()
        postbox = postbox_of(loop)
        future: asyncio.Future[Outcome] = loop.create_future()

        def resolve(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        self.submit(operations, lambda outcome: postbox.post(resolve, outcome))
        try:
            async with asyncio.timeout(timeout_s):
                return _replies(await future)
        except TimeoutError:
            raise StoreUnavailable(f"the store did not answer within {timeout_s:g} s") from None

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything submitted before has been answered; whether it was in time."""
        answered = threading.Event()
        with self._lock:
            if not self._queue and not self._in_flight:
                return True
        try:
            self.submit((), lambda _: answered.set(), keep=True)
        except StoreUnavailable:  # closed: nothing is answered any more
            return False
        return answered.wait(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Flush and end the thread; harmless twice.

        Returns:
            Whether everything was answered within ``timeout_s`` seconds. What was not is given
            up, with an error in the log: its deliveries are not acked and come again.
        """
        is_flushed = self.flush(timeout_s)
        with self._lock:
            self._closing.set()
            thread, given_up = self._thread, self._kept()
        self._rouse()
        if given_up:
            _log.error("store.commit.given_up", operations=given_up)
        # A round trip under way ends by the store's own timeouts; it is not waited for twice.
        if thread is not None and is_flushed and thread is not threading.current_thread():
            thread.join()
        return is_flushed

    @property
    def is_available(self) -> bool:
        """Whether the store answered last time it was asked."""
        return self._is_available

    @property
    def kept_count(self) -> int:
        """Operations of ``keep=True`` that are not accepted yet."""
        with self._lock:
            return self._kept()

    def _kept(self) -> int:
        waiting = (*self._in_flight, *self._queue)
        return sum(len(each.operations) for each in waiting if each.keep)

    def _rouse(self) -> None:
        with self._lock:
            if self._is_idle:
                self._is_idle = False
                self._awake.release()

    # ── the commit thread ──

    def _run(self) -> None:
        awake = self._awake
        was_busy = False
        while True:
            batch: list[_Submission] = []
            refused: list[_Submission] = []
            with self._lock:
                if self._closing.is_set():
                    self._queue, refused = [], self._queue
                elif not self._is_available:
                    self._queue, refused = _split(self._queue)
                elif self._queue:
                    batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
                    self._in_flight = batch
                self._is_warm = was_busy
                self._is_idle = not batch and not refused and not self._closing.is_set()
            was_busy = bool(batch)
            if batch:
                self._commit(batch)
            elif refused:
                self._refuse(refused, StoreUnavailable(self._trouble))
            elif self._closing.is_set():
                return
            elif not awake.acquire(timeout=_LAZY_S if self._is_warm else -1):
                with self._lock:
                    if self._is_idle:
                        self._is_idle = False
                    else:
                        # Woken between the time-out and here: the release is ours to take.
                        awake.acquire()

    def _commit(self, batch: list[_Submission]) -> None:
        operations = [operation for each in batch for operation in each.operations]
        try:
            replies = self._commit_part(operations)
        except StoreUnavailable as error:
            self._put_back(batch, error)
            return
        if self._was_away:
            self._was_away, self._delays = False, reconnect_delays()
            _log.info("store.commit.back")
        with self._lock:
            self._in_flight = []
        start = 0
        for each in batch:
            end = start + len(each.operations)
            self._answer(each, replies[start:end])
            start = end

    def _commit_part(self, operations: Sequence[Operation]) -> list[Reply | OperationRefused]:
        """Commit; halve what is refused until the bad operation stands alone."""
        try:
            return [*self._store.commit(operations)]
        except OperationRefused as error:
            refusal = error
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a value that no store expects
            refusal = OperationRefused(f"{type(error).__name__}: {error}")
        if len(operations) == 1:
            _log.error("store.commit.refused", operation=operations[0], error=str(refusal))
            return [refusal]
        half = len(operations) // 2
        return [*self._commit_part(operations[:half]), *self._commit_part(operations[half:])]

    def _put_back(self, batch: list[_Submission], error: StoreUnavailable) -> None:
        kept, refused = _split(batch)
        with self._lock:
            self._in_flight = []
            self._queue = kept + self._queue
            self._is_available = False
            self._trouble = str(error)
        if not self._was_away:
            self._was_away = True
            _log.warning("store.commit.away", error=str(error), kept=self.kept_count)
        threading.Thread(target=self._probe, name=f"{self._name}-probe", daemon=True).start()
        self._refuse(refused, error)

    def _refuse(self, refused: list[_Submission], error: StoreUnavailable) -> None:
        for each in refused:
            self._answer(each, error)

    def _answer(
        self,
        submission: _Submission,
        outcome: Sequence[Reply | OperationRefused] | StoreUnavailable,
    ) -> None:
        if submission.done is None:
            return
        if not isinstance(outcome, StoreUnavailable):
            outcome = next(
                (reply for reply in outcome if isinstance(reply, OperationRefused)), outcome
            )
        try:
            submission.done(cast("Outcome", outcome))
        except Exception:  # noqa: BLE001 - one caller's mistake must not stop everybody's commits
            _log.exception("store.commit.callback_failed", callback=repr(submission.done))

    def _probe(self) -> None:
        """Ask with back-off until the store answers; the commit thread rests meanwhile."""
        closing, delays = self._closing, self._delays
        while not closing.wait(next(delays)):
            try:
                self._store.commit([Get("")])
            except StoreUnavailable:
                continue
            except Exception:  # noqa: BLE001 - whatever it is, giving up here would be for ever
                _log.exception("store.commit.probe_failed")
                continue
            self._is_available = True
            self._rouse()
            return


def _split(submissions: list[_Submission]) -> tuple[list[_Submission], list[_Submission]]:
    """What is kept, in order, and what is not; a `flush` with nothing kept before it is over."""
    kept: list[_Submission] = []
    refused: list[_Submission] = []
    for each in submissions:
        is_kept = each.keep and (each.operations or kept)
        (kept if is_kept else refused).append(each)
    return kept, refused


def _replies(outcome: Outcome) -> list[Reply]:
    if isinstance(outcome, StoreUnavailable):
        raise outcome
    return outcome
