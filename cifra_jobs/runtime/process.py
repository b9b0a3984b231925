"""The program of one worker process: ``python -m cifra_jobs.runtime.process LINE PARENT``.

Where there is a zygote, that one forks itself and calls `main` in place of the command line.

Duties:

1. end when its supervisor ends, however that came (`die_with_parent`, the end of the line);
2. boot: settings, log, tasks, app, worker; say in one sentence why not;
3. wait in standby until its place is free, then take tasks;
4. tell the supervisor what it runs, and the store that it lives;
5. end by plan after its share of tasks or memory, giving back nothing that it has begun;
6. end by itself, with the stacks of all threads in the log, when a vital thread stands still;
7. drain at an order or a SIGTERM, hurry at the next, show its stacks at SIGUSR1 and SIGUSR2.

The main thread boots and waits; orders and signals are heard by a thread of their own, so that
neither an import nor a drain makes it deaf.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

from cifra_jobs.app import App
from cifra_jobs.config import Settings
from cifra_jobs.errors import BrokerUnavailable, CifraError, StoreUnavailable
from cifra_jobs.log import configure_logging, get_logger
from cifra_jobs.runtime.children import ChildSpec
from cifra_jobs.runtime.heartbeat import Heartbeat, resident_bytes
from cifra_jobs.runtime.loader import import_tasks
from cifra_jobs.runtime.share import Share
from cifra_jobs.runtime.signals import DRAIN, DUMP, ROLL, SignalPipe, die_with_parent
from cifra_jobs.runtime.stacks import dump_on, format_stacks
from cifra_jobs.runtime.watchdog import HearingCheck, Watchdog
from cifra_jobs.runtime.wire import Exit, Line
from cifra_jobs.runtime.worker import Worker
from cifra_jobs.service import LoopService

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cifra_jobs.runtime.wire import Note

__all__ = ["WorkerProcess", "main"]

_log = get_logger("cifra.process")

#: Seconds between two looks at what the worker does.
_LOOK_S = 0.5
#: Seconds after the last work until a thread that will not end is left behind.
_EXIT_PATIENCE_S = 5.0
#: Seconds that interrupted tasks get to end, before the process ends without them; less than the
#: supervisor's own patience (`RestartPolicy.margin_s`), so that it need not kill.
_CUT_AFTER_S = 7.0
#: Seconds past the grace that a process without a supervisor may take to drain.
_ORPHAN_MARGIN_S = 10.0


class WorkerProcess:
    """One worker and its line to the supervisor.

    Args:
        spec: what to be.
        line: to the supervisor.
        signals: an open pipe of the signals that a worker process knows.
        app: one made before the fork, when the log was set up as well; else it makes its own.
    """

    def __init__(
        self, spec: ChildSpec, line: Line, signals: SignalPipe, app: App | None = None
    ) -> None:
        self._spec = spec
        self._line = line
        self._signals = signals
        self._app = app
        self._lock = threading.Lock()
        self._go = threading.Event()
        self._worker: Worker | None = None
        self._is_started = False
        #: Why the drain began: an order, a signal, a limit.
        self._draining: str | None = None
        self._signal_count = 0
        self._last_facts: dict[str, Any] = {}
        self._share = Share(
            spec,
            drain=lambda: self._begin_drain("max_memory"),
            ask=lambda is_waiting: line.send("successor", is_waiting=is_waiting),
        )

    def run(self) -> Exit:
        """Live the whole life of the process; returns the exit code."""
        threading.Thread(target=self._listen, name="cifra-orders", daemon=True).start()
        try:
            app, worker = self._boot()
        except CifraError as error:
            return self._refuse(str(error), error)
        except Exception as error:  # noqa: BLE001 - task modules and middleware may raise anything
            _log.exception("the worker process cannot start")
            return self._refuse(f"{type(error).__name__}: {error}", error)
        try:
            return self._live(app, worker)
        finally:
            app.close()

    def _boot(self) -> tuple[App, Worker]:
        spec = self._spec
        app = self._app
        if app is None:
            settings = Settings(spec.config, **spec.overrides)
            configure_logging(settings.logging)
            app = App(settings)
        app.install()
        import_tasks(spec.modules)
        worker = Worker(
            app,
            name=spec.name,
            queues=spec.queues,
            concurrency=spec.concurrency,
            mode=spec.mode,
            prefetch_multiplier=spec.prefetch_multiplier,
            max_tasks=spec.max_tasks,
        )
        return app, worker

    def _live(self, app: App, worker: Worker) -> Exit:
        self._worker = worker
        self._line.send("standby", worker_id=worker.worker_id)
        self._go.wait()
        if self._draining:
            return Exit.DRAINED
        try:
            worker.start()
        except CifraError as error:
            return self._refuse(str(error), error)
        except Exception as error:  # noqa: BLE001 - a lifespan may raise anything
            _log.exception("the worker cannot start")
            return self._refuse(f"{type(error).__name__}: {error}", error)
        with self._lock:
            self._is_started = True
            is_late = self._draining is not None
        if is_late:
            self._stop_worker()
        else:
            self._work(app, worker)
        self._tell_facts(worker)
        is_by_plan = self._draining in {None, "max_tasks", "max_memory"}
        return Exit.RECYCLED if is_by_plan else Exit.DRAINED

    def _work(self, app: App, worker: Worker) -> None:
        services = self._services(app, worker)
        for service in services:
            service.start()
        self._line.send("ready", **self._introduction(app))
        reason = worker.wait()
        for service in services:
            service.stop()
        _log.debug("the worker has ended", reason=str(reason), because=self._draining)

    def _services(self, app: App, worker: Worker) -> list[LoopService]:
        settings, spec = app.settings, self._spec
        return [
            LoopService("cifra-look", _LOOK_S, lambda: self._look(worker)),
            Watchdog(worker.pulses(), self._give_up),
            HearingCheck(lambda: worker.is_connected, app.broker_answers, self._give_up),
            # Last, so that the store hears of every other end before that of the worker.
            Heartbeat(
                worker.worker_id,
                lambda operation: app.commit.submit([operation]),
                about={"name": spec.name, "queues": spec.queues, "slots": spec.concurrency},
                running=worker.running,
                period_s=settings.heartbeat,
                ttl_s=settings.worker_ttl,
            ),
        ]

    def _introduction(self, app: App) -> dict[str, Any]:
        try:
            servers = app.describe()
        except CifraError as error:
            # Gone since the start: the consumer comes back by itself.
            _log.warning("the servers cannot be asked what they are", error=str(error))
            servers = {}
        return {"tasks": app.tasks_by_queue(), "servers": servers}

    def _refuse(self, sentence: str, error: Exception) -> Exit:
        is_passing = isinstance(error, BrokerUnavailable | StoreUnavailable)
        if is_passing:
            _log.warning("the worker cannot start yet", reason=sentence)
        self._line.send("refused", error=sentence)
        if is_passing:
            return Exit.TRY_AGAIN
        return Exit.REFUSED if isinstance(error, CifraError) else Exit.FAILED

    def _look(self, worker: Worker) -> None:
        self._tell_facts(worker)
        if worker.is_draining and self._draining is None:
            self._begin_drain("max_tasks")
        elif self._draining is None:
            self._share.look(worker.done_count)

    def _tell_facts(self, worker: Worker) -> None:
        facts: dict[str, Any] = {
            "running": worker.running(),
            "is_connected": worker.is_connected,
            "done": worker.done_count,
            "counts": worker.counts,
        }
        if facts != self._last_facts:
            self._last_facts = facts
            self._line.send("facts", rss=resident_bytes(), **facts)

    def _listen(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._line, selectors.EVENT_READ, self._on_line)
        selector.register(self._signals.fileno(), selectors.EVENT_READ, self._on_signals)
        while True:
            for key, _ in selector.select():
                if not key.data():
                    selector.unregister(key.fileobj)

    def _on_line(self) -> bool:
        notes = self._line.read()
        if notes is None:
            self._on_orphaned()
            return False
        for note in notes:
            self._obey(note)
        return True

    def _obey(self, note: Note) -> None:
        kind = note["kind"]
        if kind == "go":
            self._go.set()
        elif kind == "drain":
            self._begin_drain("ordered")
        elif kind == "hurry":
            self._hurry()

    def _on_signals(self) -> bool:
        for number in self._signals.read():
            if number in DUMP:
                _log.warning("stacks of all threads and coroutines", stacks=format_stacks())
            elif number in DRAIN:
                self._signal_count += 1
                if self._signal_count <= 1:
                    self._begin_drain(number.name)
                else:
                    self._hurry()
        return True

    def _on_orphaned(self) -> None:
        _log.warning("the supervisor is gone: this process drains and ends")
        if self._spec.grace_s is not None:
            # Nobody is left to kill us, so the kernel gets the order, which no code can ignore.
            signal.setitimer(signal.ITIMER_REAL, self._spec.grace_s + _ORPHAN_MARGIN_S)
        # The kernel sends a SIGTERM for the same reason; it must not count as a second request.
        self._signal_count -= 1
        self._begin_drain("orphaned")

    def _begin_drain(self, reason: str) -> None:
        with self._lock:
            if self._draining is not None:
                return
            self._draining = reason
            is_started, is_idle = self._is_started, self._worker is None
        self._line.send("draining", reason=reason)
        if is_idle:
            # Still importing: nothing was taken and nothing is open.
            os._exit(Exit.DRAINED)
        self._go.set()
        if is_started:
            # A thread of its own, so that the next order is heard while tasks finish.
            threading.Thread(target=self._stop_worker, name="cifra-drain", daemon=True).start()

    def _stop_worker(self) -> None:
        # A limit of ours is no reason to interrupt anybody's task.
        is_by_plan = self._draining in {"max_tasks", "max_memory"}
        if self._worker is None:
            return
        if is_by_plan or self._spec.grace_s is None:
            self._worker.stop(None)
        else:
            self._cut_short_after(self._spec.grace_s + _CUT_AFTER_S)
            self._worker.stop(self._spec.grace_s)

    def _hurry(self) -> None:
        self._begin_drain("hurried")
        if self._worker is None or not self._is_started:
            # It connects or imports: nothing runs that could be given back.
            os._exit(Exit.DRAINED)
        self._cut_short_after(_CUT_AFTER_S)
        self._worker.hurry()

    def _cut_short_after(self, seconds: float) -> None:
        """End then, whatever still runs: a task that blocks in C cannot be interrupted."""
        timer = threading.Timer(seconds, os._exit, (int(Exit.CUT_SHORT),))
        timer.daemon = True
        timer.start()

    def _give_up(self, sentence: str) -> None:
        _log.critical(f"{sentence}: this process ends and is replaced", stacks=format_stacks())
        self._tell_facts_or_nothing()
        os._exit(Exit.UNHEALTHY)

    def _tell_facts_or_nothing(self) -> None:
        # From a sick process: what it ran is worth knowing, and no reason to stay.
        if self._worker is not None:
            self._line.send("facts", rss=resident_bytes(), **self._last_facts)


def main(arguments: Sequence[str], app: App | None = None) -> int:
    """Run the process; see the module's docstring.

    Args:
        arguments: the descriptor of the line, and the supervisor's process id.
        app: one made before the fork, when the log was set up as well; else it makes its own.

    Returns:
        The exit code, an `Exit`.
    """
    descriptor, parent = (int(each) for each in arguments)
    line = Line(socket.socket(fileno=descriptor))
    # Never closed: a signal during the last steps must not end what is ending well.
    signals = SignalPipe(DRAIN | DUMP | ROLL).open()
    dump_on(DUMP)
    notes: list[Note] | None = []
    while not notes:
        notes = line.read()
        if notes is None:
            return Exit.DRAINED
    # Not before the first order: until then a forked process may still be another's child.
    if not die_with_parent(parent):
        return Exit.DRAINED
    code = WorkerProcess(ChildSpec.from_note(notes[0]), line, signals, app).run()
    _leave_behind(code)
    return code


def _leave_behind(code: Exit) -> None:
    """End in time even if a thread that is not ours holds the interpreter back."""
    timer = threading.Timer(_EXIT_PATIENCE_S, os._exit, (int(code),))
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
