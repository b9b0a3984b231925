"""All the worker processes of one ``cifra worker start``.

Duties:

1. start one process for each slot, in sessions of their own;
2. restart a dead one, alone, with back-off; log its end with signal or exit code and what it ran;
3. tell the store of the dead, so that their claims are free at once;
4. first SIGTERM or SIGINT: drain all; second: hurry; third: kill;
5. SIGHUP: replace the processes one by one, each only once its successor could boot;
6. end with 0 after a clean drain, with 1 if a process could not be kept up or had to be killed.

It waits for descriptors alone: lines to the children, their ends (pidfd), signals. Nothing is
polled, and no thread is needed.
"""

from __future__ import annotations

import os
import selectors
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from cifra_jobs.log import get_logger
from cifra_jobs.runtime.children import Phase
from cifra_jobs.runtime.nursery import Nursery
from cifra_jobs.runtime.signals import DRAIN, DUMP, ROLL, SignalPipe
from cifra_jobs.runtime.slots import RestartPolicy, Slot
from cifra_jobs.runtime.stacks import format_stacks
from cifra_jobs.runtime.wire import CLEAN_EXITS, Exit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cifra_jobs.runtime.children import Child, ChildSpec

__all__ = ["Supervisor"]

_log = get_logger("cifra.supervisor")

#: Requests to stop before running tasks are cancelled, and before processes are killed.
_HURRY_AT, _KILL_AT = 2, 3
#: What other threads write to wake the loop.
_STOP, _ROLL = b"s", b"r"


class Supervisor:
    """Keeps a set of worker processes up until it is told to stop.

    Args:
        specs: one for each process.
        policy: how dead processes are replaced.
        nursery: makes the processes; closed at the end.
        on_gone: told the worker id of a process that died with claims; must not block.
        on_ready: called once, when every process has been ready, with those processes.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        policy: RestartPolicy | None = None,
        nursery: Nursery | None = None,
        on_gone: Callable[[str], None] | None = None,
        on_ready: Callable[[list[Child]], None] | None = None,
    ) -> None:
        self.policy = policy or RestartPolicy()
        self._nursery = nursery or Nursery()
        self.slots = [
            Slot(spec, self.policy, self._nursery, on_spawn=self._on_spawn) for spec in specs
        ]
        #: Why the start or the upkeep failed, as one sentence.
        self.failure: str | None = None
        self._on_gone = on_gone
        self._on_ready = on_ready
        self._selector = selectors.DefaultSelector()
        self._stop_requests = 0
        self._rolling: deque[Slot] = deque()
        self._is_clean = True
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_writer, False)

    def run(self, signals: SignalPipe | None = None) -> int:
        """Start the processes, keep them up, and return when all have ended.

        Args:
            signals: an entered pipe of `DRAIN`, `ROLL` and `DUMP` signals, where this is the main
                thread's work.

        Returns:
            The exit code of the command: 0 after a clean drain, else 1.
        """
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._on_wake)
        if signals is not None:
            self._selector.register(
                signals.fileno(), selectors.EVENT_READ, lambda: self._on_signals(signals)
            )
        try:
            for slot in self.slots:
                slot.fill()
            while any(slot.children or slot.restart_at is not None for slot in self.slots):
                for key, _ in self._selector.select(self._patience()):
                    # Handled earlier in this round, a descriptor may be gone by now.
                    if key.fd in self._selector.get_map():
                        key.data()
                self._do_what_is_due()
        finally:
            self._end()
        return 0 if self._is_clean and self.failure is None else 1

    def stop(self) -> None:
        """Do as at a SIGTERM: drain, the second time hurry, then kill. Safe from any thread."""
        os.write(self._wake_writer, _STOP)

    def roll(self) -> None:
        """Do as at a SIGHUP: replace the processes one by one. Safe from any thread."""
        os.write(self._wake_writer, _ROLL)

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop, or has given up."""
        return self._stop_requests > 0 or self.failure is not None

    def status(self) -> list[dict[str, Any]]:
        """Facts about every slot, for probes and metrics. Safe from any thread."""
        return [_status_of(slot) for slot in self.slots]

    def _on_spawn(self, slot: Slot, child: Child) -> None:
        self._selector.register(
            child.line, selectors.EVENT_READ, lambda: self._on_line(slot, child)
        )
        self._selector.register(
            child.exit_fd, selectors.EVENT_READ, lambda: self._on_exit(slot, child)
        )

    def _on_line(self, slot: Slot, child: Child) -> None:
        notes = child.line.read()
        if notes is None:
            self._selector.unregister(child.line)
            return
        for note in notes:
            slot.on_note(child, note)
            if note["kind"] == "ready":
                self._announce_ready()
        self._roll_next()

    def _on_exit(self, slot: Slot, child: Child) -> None:
        self._read_last_words(slot, child)
        self._selector.unregister(child.exit_fd)
        if child is slot.successor:
            # What cannot boot here cannot boot elsewhere: the others stay as they are.
            self._rolling.clear()
        code = slot.on_exit(child)
        is_drained = code in CLEAN_EXITS or code == Exit.CUT_SHORT
        self._is_clean = self._is_clean and (is_drained or not self.is_stopping)
        if code not in CLEAN_EXITS and child.worker_id and self._on_gone is not None:
            self._on_gone(child.worker_id)
        if slot.failure is not None and self.failure is None:
            self.failure = slot.failure
            self._close_all()
        self._roll_next()

    def _read_last_words(self, slot: Slot, child: Child) -> None:
        while child.line in _registered(self._selector):
            self._on_line(slot, child)

    def _on_wake(self) -> None:
        for byte in os.read(self._wake_reader, 64):
            if byte == _ROLL[0]:
                self._request_roll()
            else:
                self._request_stop()

    def _on_signals(self, signals: SignalPipe) -> None:
        for number in signals.read():
            if number in DRAIN:
                self._request_stop()
            elif number in ROLL:
                self._request_roll()
            elif number in DUMP:
                _log.info("stacks of the supervisor", stacks=format_stacks())
                for child in self._children():
                    child.process.send_signal(number)

    def _request_stop(self) -> None:
        self._stop_requests += 1
        if self._stop_requests >= _KILL_AT:
            _log.warning("third request to stop: worker processes are killed")
            for child in self._children():
                child.kill()
        elif self._stop_requests == _HURRY_AT:
            _log.warning("second request to stop: running tasks are cancelled and given back")
            for child in self._children():
                child.hurry(self.policy.margin_s)
        else:
            running = sum(len(child.running) for child in self._children())
            _log.info("stopping: running tasks are finished first", running=running)
            self._close_all()

    def _close_all(self) -> None:
        self._rolling.clear()
        for slot in self.slots:
            slot.close()

    def _request_roll(self) -> None:
        if not self.is_stopping:
            _log.info("rolling restart of the worker processes")
            self._nursery.renew()
            self._rolling = deque(self.slots)
            self._roll_next()

    def _roll_next(self) -> None:
        if self._rolling and not any(slot.is_rolling for slot in self.slots):
            self._rolling.popleft().roll()

    def _announce_ready(self) -> None:
        if self._on_ready is None:
            return
        filled = [slot.current for slot in self.slots if slot.current is not None]
        if len(filled) == len(self.slots) and all(each.ready_at for each in filled):
            tell, self._on_ready = self._on_ready, None
            tell(filled)

    def _children(self) -> list[Child]:
        return [child for slot in self.slots for child in slot.children]

    def _patience(self) -> float | None:
        """Seconds until something is due, ``None`` for ever."""
        due = [slot.restart_at for slot in self.slots if slot.restart_at is not None]
        due += [child.deadline for child in self._children() if child.deadline is not None]
        return max(0.0, min(due) - monotonic()) if due else None

    def _do_what_is_due(self) -> None:
        now = monotonic()
        for slot in self.slots:
            if slot.restart_at is not None and slot.restart_at <= now:
                slot.fill()
        for child in self._children():
            if child.deadline is not None and child.deadline <= now:
                child.kill()

    def _end(self) -> None:
        for child in self._children():
            # Only when this method runs because of an error of our own.
            child.kill()
            child.reap()
        self._nursery.close()
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)


def _registered(selector: selectors.BaseSelector) -> set[Any]:
    return {key.fileobj for key in selector.get_map().values()}


def _status_of(slot: Slot) -> dict[str, Any]:
    child = slot.current
    children = slot.children
    counts = slot.past.copy()
    for each in children:
        counts.update(each.facts.get("counts", {}))
    is_up = child is not None and child.phase is Phase.WORKING
    return {
        "worker": slot.spec.worker,
        "index": slot.spec.index,
        "queues": list(slot.spec.queues),
        "slots": slot.spec.concurrency,
        "pid": child.pid if child is not None else None,
        "is_up": is_up,
        "is_connected": is_up and child is not None and bool(child.facts.get("is_connected")),
        "restarts": slot.restart_count,
        "running": sum(len(each.running) for each in children),
        "rss": sum(each.facts.get("rss", 0) for each in children),
        "counts": dict(counts),
    }
