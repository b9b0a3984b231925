"""`Worker`: one process's consumer, executors and settlement.

Duties:

1. enter the lifespans, declare the queues, consume them;
2. hand deliveries to `Intake`, what it grants to the `Dispatcher`, what ran to `Settlement`;
3. know what runs, tell the store that it has started, stop it when it is revoked;
4. drain: take nothing more, give back what has not started, let the rest finish.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from cifra_jobs.errors import (
    BrokerError,
    BrokerUnavailable,
    WorkerLost,
)
from cifra_jobs.jobs.lifespan import Lifespans, registered
from cifra_jobs.jobs.outcome import Dead
from cifra_jobs.jobs.state import FINAL_STATES, TaskState
from cifra_jobs.log import get_logger
from cifra_jobs.runtime.bindings import Bindings
from cifra_jobs.runtime.dispatcher import Dispatcher
from cifra_jobs.runtime.executors import LoopExecutor, ThreadExecutor, interrupt_thread
from cifra_jobs.runtime.intake import Intake
from cifra_jobs.runtime.lending import Lending
from cifra_jobs.runtime.revocations import Revocations
from cifra_jobs.runtime.roster import Roster
from cifra_jobs.runtime.running import Running
from cifra_jobs.runtime.settlement import Settlement
from cifra_jobs.runtime.timers import Timers
from cifra_jobs.store.base import Beat, Gone, Release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cifra_jobs.app import App
    from cifra_jobs.brokers.base import Consumer, Delivery, Extension
    from cifra_jobs.jobs.outcome import Outcome
    from cifra_jobs.middleware.attempt import Attempt

__all__ = ["Worker"]


log = get_logger(__name__)

#: Seconds until a queue that could not be declared is tried again.
_ASK_AGAIN_S = 1.0
#: Seconds that cancelled runs get to end, once the grace is over.
_LAST_WORDS_S = 5.0


class Worker:
    """Consumes queues and runs tasks, in this process.

    Args:
        app: the application: broker, store, settings.
        name: how people call it.
        queues: short names; ``None`` follows every queue that is declared, now or later.
        concurrency: how many attempts run at once, whichever executor runs them.
        mode: ``threads`` runs ``async`` tasks in threads' company all the same; ``async`` starts
            no task threads; ``auto`` starts both.
        prefetch_multiplier: deliveries held per slot and queue; ``None`` is the setting, or 1.
        max_tasks: drain by itself after so many runs.
    """

    def __init__(
        self,
        app: App,
        *,
        name: str = "worker",
        queues: Sequence[str] | None = None,
        concurrency: int | None = None,
        mode: str = "auto",
        prefetch_multiplier: int | None = None,
        max_tasks: int | None = None,
    ) -> None:
        self.app = app
        self.name = name
        self.worker_id = f"{name}-{secrets.token_hex(6)}"
        self.context: dict[str, Any] = {}
        self.concurrency = concurrency or app.settings.workers.default_concurrency
        multiplier = prefetch_multiplier or app.settings.workers.prefetch_multiplier or 1
        self._prefetch = self.concurrency * multiplier
        self._only = None if queues is None else tuple(queues)
        self.bindings = Bindings(app, mode)
        self._max_tasks = max_tasks
        self.timers = Timers()
        self._loop = LoopExecutor(self)
        self.dispatcher = Dispatcher(self.concurrency, self._loop.begin)
        self._threads = ThreadExecutor(self, 0 if mode == "async" else self.concurrency)
        self.settlement = Settlement(self)
        self._intake = Intake(self)
        self._lifespans = Lifespans()
        self._consumer: Consumer | None = None
        self.lending = Lending(self, self._prefetch, self._ask_for_more)
        self._revocations = Revocations(self)
        self._lock = threading.Lock()
        self.roster = Roster(self)
        self._open_count = 0
        self._is_idle = threading.Condition(self._lock)
        self._queues: dict[str, int] = {}
        self._ended = threading.Event()
        self._stop_lock = threading.Lock()
        self._stop_reason = "stopped"
        self.is_draining = False
        self._is_closing = False
        self.done_count = 0
        self.counts: Counter[str] = Counter()

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Enter the lifespans, declare the queues and begin to consume.

        Raises:
            BrokerUnavailable: RabbitMQ does not answer.
            TopologyMismatch: a queue exists with other arguments.
            ConfigError: two lifespans yield the same key.
        """
        try:
            self._start()
        except BaseException:
            self._close()
            self._ended.set()
            raise

    def _start(self) -> None:
        broker = self.app.broker
        self.app.name = f"cifra worker {self.name}"
        broker.boot()
        broker.emit_before("worker_boot", self)
        if registered:
            self.context = self._loop.run(self._lifespans.enter())
        queues = sorted(self.app.queues_named()) if self._only is None else list(self._only)
        if queues:
            self.app.declare(queues)
        self._revocations.open()
        self._threads.start()
        # Before the first claim: that of a worker nobody has heard of counts as that of a dead one.
        ttl_ms = int(self.app.settings.worker_ttl * 1000)
        self.app.commit.submit([Beat(self.worker_id, "{}", ttl_ms)])
        if queues:
            self._consume(queues)
        if self._only is None:
            self.app.on_declared_queue(self._on_new_queue)
        broker.emit_after("worker_boot", self)

    def stop(self, grace_s: float | None = None) -> None:
        """Drain, then end. Safe to call twice; returns when it has ended.

        Args:
            grace_s: seconds that running tasks get; ``None`` waits for as long as they take.
                What still runs then is interrupted and given back: an interruption uses no attempt.
        """
        with self._stop_lock:
            if self._ended.is_set():
                return
            self.dispatcher.pause()
            self.is_draining = True
            broker = self.app.broker
            broker.emit_before("worker_shutdown", self)
            if self._consumer is not None:
                self._consumer.cancel(timeout_s=10)
            self.give_back(self.dispatcher.drain())
            if not self._wait_idle(grace_s):
                self.hurry()
                self._wait_idle(_LAST_WORDS_S)
            self._is_closing = True
            self._close()
            broker.emit_after("worker_shutdown", self)
            self._ended.set()

    def hurry(self) -> None:
        """Interrupt what runs and give it back. May be called while ``stop`` waits."""
        for running in self.roster.all():
            self.interrupt(running, "shutdown")

    def wait(self) -> str:
        """Wait until it has ended; why it did."""
        self._ended.wait()
        return self._stop_reason

    def pause(self) -> None:
        """Start nothing more until ``resume``; what runs goes on."""
        self.dispatcher.pause()

    def resume(self) -> None:
        """Start tasks again."""
        self.dispatcher.resume()

    # -- facts ---------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether every queue is consumed right now."""
        return self._consumer is None or self._consumer.is_connected

    @property
    def is_on_loop(self) -> bool:
        """Whether the caller runs on the event loop's thread."""
        return self._loop.is_current

    def running(self) -> list[dict[str, Any]]:
        """The attempts being run: task, id, since and last ``heartbeat()`` (ms since the epoch)."""
        return self.roster.facts()

    def pulses(self) -> Mapping[str, Callable[[Callable[[], None]], object]]:
        """Ways to ask the vital threads for a sign of life; those that end by plan are well."""
        parts: dict[str, Callable[[Callable[[], None]], object]] = {
            "event loop": self._pulse_of_loop,
            "timers": lambda answer: self.timers.call_later(0, answer),
            "store": lambda answer: self.app.commit.submit([], lambda _: answer()),
        }

        def unless_closing(ask: Callable[[Callable[[], None]], object]) -> Any:
            return lambda answer: answer() if self._is_closing else ask(answer)

        return {name: unless_closing(ask) for name, ask in parts.items()}

    # -- the way of an attempt -----------------------------------------------------------------

    def taken(self, count: int) -> None:
        """Attempts have come in."""
        with self._lock:
            self._open_count += count

    def settled(self, count: int) -> None:
        """Attempts have ended, one way or another."""
        with self._lock:
            self._open_count -= count
            if self._open_count <= 0:
                self._is_idle.notify_all()

    def ready(self, attempts: list[Attempt]) -> None:
        """Claimed attempts may run, unless the worker is leaving."""
        if self.is_draining:
            self.give_back(attempts)
        else:
            self.dispatcher.offer(attempts)

    def refusal_of(self, attempt: Attempt) -> Outcome | None:
        """What ends a claimed attempt before its function is called."""
        refusal = self._revocations.refusal_of(attempt)
        return refusal or self.bindings.chain_of(attempt).before(attempt)

    def count(self, state: TaskState) -> None:
        """An outcome was decided."""
        self.counts[str(state)] += 1
        if state in FINAL_STATES or state is TaskState.RETRYING:
            self.done_count += 1
            if self._max_tasks is not None and self.done_count == self._max_tasks:
                self._leave("max_tasks")

    def give_back(self, attempts: list[Attempt]) -> None:
        """Release claims and requeue: somebody else runs them, and no attempt was used."""
        acked = [attempt for attempt in attempts if attempt.is_acked]
        if acked:
            # At most once was asked for: nobody may run it again, and somebody should know.
            error = WorkerLost("its worker stopped, and acks='early' is at most once")
            self.settlement.settle([(a, Dead(error, "worker_lost")) for a in acked])
            attempts = [attempt for attempt in attempts if not attempt.is_acked]
        if not attempts:
            return

        def requeue(_: Any) -> None:
            for attempt in attempts:
                attempt.consumer.requeue([attempt.delivery])
            self.settled(len(attempts))

        releases = [Release(a.message.message_id, a.token) for a in attempts]
        self.app.commit.submit(releases, requeue)

    # -- inside --------------------------------------------------------------------------------

    def emit_thread_hook(self, hook: str, thread: threading.Thread) -> None:
        """Tell Dramatiq's middleware of a task thread's start or end."""
        moment, _, signal = hook.partition("_")
        broker = self.app.broker
        emit = broker.emit_after if moment == "after" else broker.emit_before
        emit(signal, thread)

    def _pulse_of_loop(self, answer: Callable[[], None]) -> None:
        if self._loop.is_started:
            self._loop.post(lambda _: answer(), None)
        else:
            answer()

    def _consume(self, queues: list[str]) -> None:
        prefetch = dict.fromkeys(queues, self._prefetch)
        self._queues.update(prefetch)
        if self._consumer is not None:
            self._consumer.extend(prefetch)
            return
        box: list[Consumer] = []
        is_known = threading.Event()

        def on_deliveries(deliveries: list[Delivery]) -> None:
            # The first read may be faster than consume() returns.
            is_known.wait()
            self._intake.take(deliveries, box[0])

        try:
            self._consumer = self.app.transport.consume(prefetch, on_deliveries)
            box.append(self._consumer)
        finally:
            is_known.set()

    def _ask_for_more(self, count: int) -> Extension:
        if self._consumer is None:
            raise RuntimeError("a run waits in a worker that consumes nothing")
        return self._consumer.extend(dict.fromkeys(self._queues, count))

    def _on_new_queue(self, queue: str) -> None:
        if self._only is None:
            # Not here: whoever declares a task must not wait for the broker, nor hear of its loss.
            self.app.redeclare((), partial(self._consume_new, queue))

    def _consume_new(self, queue: str) -> None:
        # Beside the one that was named, those that the settings route its tasks to.
        new = sorted(({queue} | self.app.queues_named()) - self._queues.keys())
        if not new or self.is_draining:
            return
        try:
            self.app.declare(new)
        except BrokerUnavailable:
            self.timers.call_later(_ASK_AGAIN_S, partial(self._on_new_queue, queue))
        except BrokerError:
            log.exception("new queues cannot be consumed", queues=new)
        else:
            self._consume(new)

    def interrupt(self, running: Running, reason: str) -> None:
        """Stop a run, for ``shutdown`` or because it was ``revoked``."""
        running.is_cancelled = True
        if running.attempt.is_async:
            self._loop.post(lambda _: self._loop.interrupt(running, reason), None)
        else:
            interrupt_thread(running, reason)

    def _leave(self, reason: str) -> None:
        self._stop_reason = reason
        self.dispatcher.pause()
        threading.Thread(target=self.stop, name="cifra-leave", daemon=True).start()

    def _wait_idle(self, timeout_s: float | None) -> bool:
        with self._lock:
            return self._is_idle.wait_for(lambda: self._open_count <= 0, timeout_s)

    def _close(self) -> None:
        self.dispatcher.close()
        self._threads.join(_LAST_WORDS_S)
        if self._loop.is_running:
            try:
                self._loop.run(self._lifespans.leave())
            except Exception:
                log.exception("a worker lifespan failed while it was left")
        self._loop.stop()
        self.app.commit.submit([Gone(self.worker_id)])
        self.app.commit.flush(_LAST_WORDS_S)
        if self._consumer is not None:
            self._consumer.close(timeout_s=10)
        self._revocations.close()
        self.app.forget_queue_listener(self._on_new_queue)
        self.timers.close()
