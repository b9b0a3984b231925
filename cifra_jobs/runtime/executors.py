"""Two executors: threads for plain functions, one event loop for ``async def``.

Each runs an attempt to an `Outcome` in the same steps: what the policies say before → the
function, under its limits → what the policies make of it. Neither publishes nor acks.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from dramatiq.threading import raise_thread_exception

from cifra_jobs.errors import SoftTimeout, StoreUnavailable, TaskRevoked, TaskTimeout
from cifra_jobs.jobs.current import bound_run, current_task
from cifra_jobs.jobs.failure import format_traceback
from cifra_jobs.jobs.outcome import Dead, Failed, Outcome, Succeeded
from cifra_jobs.jobs.tasks import Task
from cifra_jobs.log import get_logger
from cifra_jobs.postbox import Postbox
from cifra_jobs.runtime.interrupts import Shutdown, clear_thread_exception, interruptible

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.middleware.attempt import Attempt
    from cifra_jobs.runtime.running import Running
    from cifra_jobs.runtime.worker import Worker

__all__ = ["LoopExecutor", "ThreadExecutor"]

log = get_logger(__name__)

#: Seconds that a run waits to have its start on record, where that has to come first.
_START_S = 5.0


class ThreadExecutor:
    """Threads that take attempts from the dispatcher, run them and settle them."""

    def __init__(self, worker: Worker, count: int) -> None:
        self._worker = worker
        self._threads = [
            threading.Thread(target=self._work, name=f"cifra-task-{n}", daemon=True)
            for n in range(count)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads to go home; whether all did."""
        deadline = time.monotonic() + timeout_s
        started = [thread for thread in self._threads if thread.ident is not None]
        for thread in started:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in started)

    def _work(self) -> None:
        worker = self._worker
        worker.emit_thread_hook("after_worker_thread_boot", threading.current_thread())
        while True:
            attempt = worker.dispatcher.take()
            if attempt is None:
                break
            try:
                outcome = self._outcome_of(attempt)
                if outcome is not None:
                    worker.settlement.settle([(attempt, outcome)])
            except Exception:
                log.exception("an attempt could not be settled", task_id=attempt.message.message_id)
            finally:
                # No reference to the last attempt while waiting for the next one.
                del attempt
                outcome = None
                worker.dispatcher.finished()
        worker.emit_thread_hook("before_worker_thread_shutdown", threading.current_thread())

    def _outcome_of(self, attempt: Attempt) -> Outcome | None:
        try:
            return self._run(attempt)
        except BaseException as error:
            # Dramatiq's interrupts may hit after the function: neither thread nor delivery is lost.
            log.exception("an attempt broke", task_id=attempt.message.message_id)
            return _broken(attempt, error)

    def _run(self, attempt: Attempt) -> Outcome | None:
        worker = self._worker
        outcome = worker.refusal_of(attempt)
        if outcome is None:
            if _tells_start(attempt):
                with contextlib.suppress(StoreUnavailable):
                    worker.app.commit.call([worker.roster.started(attempt)], _START_S)
            if attempt.options.is_early_ack:
                worker.settlement.ack_early(attempt)
            running = worker.roster.begin(attempt)
            token = bound_run.set(running)
            try:
                outcome = self._call(attempt, running)
            finally:
                bound_run.reset(token)
                worker.roster.end(running)
            if running.stop_reason == "shutdown" and type(outcome) is not Succeeded:
                worker.give_back([attempt])
                return None
        try:
            return worker.bindings.chain_of(attempt).after(attempt, outcome)
        finally:
            # A traceback holds the frames that led to it: an error in a variable of one of them is
            # a circle that only the garbage collector ends.
            del outcome

    def _call(self, attempt: Attempt, running: Running) -> Outcome:
        options = attempt.options
        # Always: a stop of the worker or a revoke may interrupt any task.
        running.lock = threading.Lock()
        timers = []
        if options.timeout_s is not None or options.soft_timeout_s is not None:
            timers = self._deadlines(running)
        running.thread_id = threading.get_ident()
        try:
            try:
                # A context of its own: what a task sets there is not for the thread's next one.
                result = copy_context().run(_call, attempt)
            finally:
                with running.lock:
                    running.thread_id = None
                    if running.stop_reason is not None or running.is_soft_due:
                        clear_thread_exception()
        except BaseException as error:  # noqa: BLE001 - whatever a task raises becomes its outcome
            return _failed(attempt, running, error)
        else:
            if running.stop_reason == "timeout":
                return _failed(attempt, running, TaskTimeout())
            return Succeeded(result)
        finally:
            for timer in timers:
                timer.cancel()

    def _deadlines(self, running: Running) -> list[Any]:
        options = running.attempt.options
        due = []
        if options.timeout_s is not None:
            due.append((options.timeout_s, lambda: interrupt_thread(running, "timeout")))
        if options.soft_timeout_s is not None:
            due.append((options.soft_timeout_s, lambda: interrupt_thread(running, "soft")))
        return [self._worker.timers.call_later(seconds, call) for seconds, call in due]


def interrupt_thread(running: Running, reason: str) -> None:
    """Raise in the thread that runs a task, if it still does."""
    lock = running.lock
    if lock is None:
        return
    with lock:
        if running.thread_id is None:
            return
        exceptions = {"soft": SoftTimeout, "shutdown": Shutdown, "revoked": TaskRevoked}
        if reason == "soft":
            running.is_soft_due = True
        else:
            running.stop_reason = reason
        raise_thread_exception(running.thread_id, exceptions.get(reason, TaskTimeout))
        waiting = running.waits_for
    if waiting is not None:
        # An exception cannot reach a thread that is blocked in a lock: end what it waits for.
        waiting.cancel()


class LoopExecutor:
    """One event loop on one thread; hundreds of coroutines at once.

    Attributes:
        is_started: it starts with the first that needs it: a worker of plain functions has none.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._lock = threading.Lock()
        self.is_started = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="cifra-loop", daemon=True)
        self.loop: asyncio.AbstractEventLoop
        self._postbox: Postbox
        self._concluded: list[tuple[Attempt, Outcome | None]] = []

    def start(self) -> None:
        """Start the loop, unless it was started; returns when it runs."""
        with self._lock:
            if not self.is_started:
                self.is_started = True
                self._thread.start()
        self._ready.wait()

    @property
    def is_running(self) -> bool:
        """Whether it was started and not stopped yet."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop the loop; nothing may be running in it."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on the loop's thread, which must not wait."""
        return threading.get_ident() == self._thread.ident

    def post(self, call: Callable[[Any], None], argument: Any) -> None:
        """Run something on the loop, soon; nothing runs on one that was never started."""
        if self.is_started:
            self._postbox.post(call, argument)

    def run(self, coroutine: Any) -> Any:
        """Run a coroutine on the loop and wait for its value, from another thread."""
        self.start()
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def begin(self, attempts: list[Attempt]) -> None:
        """Start attempts, from any thread."""
        if self.is_current:
            self._begin(attempts)
        else:
            self.start()
            self._postbox.post(self._begin, attempts)

    def interrupt(self, running: Running, reason: str) -> None:
        """Cancel an attempt, on the loop's thread."""
        task = running.asyncio_task
        if task is not None and not task.done():
            running.stop_reason = reason
            task.cancel()

    def _main(self) -> None:
        loop = self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self._postbox = Postbox(loop)
        loop.call_soon(self._ready.set)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def _begin(self, attempts: list[Attempt]) -> None:
        create_task = self.loop.create_task
        for attempt in attempts:
            # Not the context of the task whose end or wait gave this one its slot.
            create_task(self._run(attempt), context=Context())

    async def _run(self, attempt: Attempt) -> None:
        outcome: Outcome | None
        try:
            outcome = await self._outcome_of(attempt)
        except BaseException as error:
            log.exception("an attempt broke", task_id=attempt.message.message_id)
            outcome = _broken(attempt, error)
        concluded = self._concluded
        concluded.append((attempt, outcome))
        if len(concluded) == 1:
            # Whatever ends in this turn of the loop is settled with one hand-over.
            self.loop.call_soon(self._settle)

    async def _outcome_of(self, attempt: Attempt) -> Outcome | None:
        worker = self._worker
        outcome = worker.refusal_of(attempt)
        if outcome is None:
            if _tells_start(attempt):
                with contextlib.suppress(StoreUnavailable):
                    await worker.app.commit.acall([worker.roster.started(attempt)], _START_S)
            if attempt.options.is_early_ack:
                worker.settlement.ack_early(attempt)
            running = worker.roster.begin(attempt)
            bound_run.set(running)
            running.asyncio_task = asyncio.current_task()
            outcome = await self._call(attempt, running)
            worker.roster.end(running)
            if running.stop_reason == "shutdown" and type(outcome) is not Succeeded:
                return None
        return worker.bindings.chain_of(attempt).after(attempt, outcome)

    async def _call(self, attempt: Attempt, running: Running) -> Outcome:
        options = attempt.options
        timers = []
        if options.timeout_s is not None:
            timers.append(
                self.loop.call_later(options.timeout_s, self.interrupt, running, "timeout")
            )
        if options.soft_timeout_s is not None:
            timers.append(self.loop.call_later(options.soft_timeout_s, _ask_softly, running))
        outcome: Outcome
        try:
            coroutine = _call(attempt)
            if options.soft_timeout_s is not None:
                coroutine = interruptible(coroutine, running)
            outcome = Succeeded(await coroutine)
        except BaseException as error:  # noqa: BLE001 - whatever a task raises becomes its outcome
            outcome = _failed(attempt, running, error)
        else:
            if running.stop_reason == "timeout":
                outcome = _failed(attempt, running, asyncio.CancelledError())
        running.asyncio_task = None
        for timer in timers:
            timer.cancel()
        return outcome

    def _settle(self) -> None:
        concluded, self._concluded = self._concluded, []
        worker = self._worker
        given_back = [attempt for attempt, outcome in concluded if outcome is None]
        if given_back:
            worker.give_back(given_back)
        try:
            worker.settlement.settle([(a, o) for a, o in concluded if o is not None])
        except Exception:
            log.exception("attempts could not be settled")
        worker.dispatcher.finished(len(concluded))


def _tells_start(attempt: Attempt) -> bool:
    """Whether the start is on record before the run: of what may not run twice, or killed before.

    Only started tasks count a death; one that dies in its first line would never be suspected.
    """
    return attempt.options.is_early_ack or attempt.delivery.is_redelivered


def _call(attempt: Attempt) -> Any:
    actor, message = attempt.actor, attempt.message
    if isinstance(actor, Task):
        if actor.is_bound:
            return actor.fn(current_task, *message.args, **message.kwargs)
        return actor.fn(*message.args, **message.kwargs)
    if attempt.is_async:
        # Dramatiq wraps coroutine functions for its own loop thread; ours runs them natively.
        return actor.fn.__wrapped__(*message.args, **message.kwargs)  # type: ignore[attr-defined]
    return actor(*message.args, **message.kwargs)


def _broken(attempt: Attempt, error: BaseException) -> Outcome:
    attempt.traceback = format_traceback(error)
    return Dead(error, "broken")


def _failed(attempt: Attempt, running: Running, error: BaseException) -> Outcome:
    if running.stop_reason == "timeout":
        late = TaskTimeout(f"the run took longer than its timeout of {attempt.options.timeout_s} s")
        late.__cause__ = None if isinstance(error, asyncio.CancelledError | TaskTimeout) else error
        late.__traceback__ = error.__traceback__
        error = late
    elif running.stop_reason == "revoked":
        error = TaskRevoked("it was revoked while it ran")
    attempt.traceback = attempt.masked(format_traceback(error))
    return Failed(error)


def _ask_softly(running: Running) -> None:
    task = running.asyncio_task
    if task is not None and not task.done():
        running.is_soft_due = True
        task.cancel()
