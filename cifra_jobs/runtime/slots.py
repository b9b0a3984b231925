"""One place for a worker process, and the law of who may fill it.

    empty ──spawn──▶ booting ──standby──▶ go ──▶ working ──draining──▶ leaving ──▶ gone
      ▲                 │                           │                     │
      └── back-off ◀────┴────────── death ◀─────────┘     a successor takes the place at once

A process that stops taking tasks gives up its place at that moment, not when its last task has
ended: a recycled worker with one long task must not leave its place empty meanwhile.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from cifra_jobs.backoff import exponential
from cifra_jobs.log import get_logger
from cifra_jobs.runtime.children import Phase
from cifra_jobs.runtime.signals import describe_exit
from cifra_jobs.runtime.wire import CLEAN_EXITS, Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.children import Child, ChildSpec
    from cifra_jobs.runtime.nursery import Nursery
    from cifra_jobs.runtime.wire import Note

__all__ = ["RestartPolicy", "Slot"]

_log = get_logger("cifra.supervisor")


@dataclass(frozen=True)
class RestartPolicy:
    """How a dead child is replaced.

    Attributes:
        first_s: seconds before the first restart; doubled with each death in a row.
        cap_s: the longest wait.
        stable_s: a child that worked so long has proved itself: deaths are counted anew.
        boot_attempts: processes in a row that may end before they are ready.
        margin_s: seconds between the end of a drain's grace and the kill.
    """

    first_s: float = 0.25
    cap_s: float = 30.0
    stable_s: float = 30.0
    boot_attempts: int = 5
    margin_s: float = 10.0


class Slot:
    """One place for a worker process.

    Args:
        spec: what the process is to be.
        policy: how a dead one is replaced.
        nursery: makes the processes.
        on_spawn: told of each new process.
    """

    def __init__(
        self,
        spec: ChildSpec,
        policy: RestartPolicy,
        nursery: Nursery,
        *,
        on_spawn: Callable[[Slot, Child], None],
    ) -> None:
        self.spec = spec
        self.policy = policy
        self.current: Child | None = None
        self.successor: Child | None = None
        self.leaving: list[Child] = []
        #: When the next process is due, while the place is empty.
        self.restart_at: float | None = None
        #: Why the place can not be filled, as one sentence.
        self.failure: str | None = None
        #: Tasks by final state of the processes that are gone.
        self.past: Counter[str] = Counter()
        self.restart_count = 0
        self._nursery = nursery
        self._on_spawn = on_spawn
        self._is_closing = False
        self._deaths_in_a_row = 0
        self._boots_in_a_row = 0
        self._was_ready = False
        #: The current process keeps working if its successor cannot boot.
        self._is_rolling = False

    @property
    def children(self) -> list[Child]:
        """Every process of this place that has not ended."""
        filled = [each for each in (self.current, self.successor) if each is not None]
        return [*filled, *self.leaving]

    @property
    def is_rolling(self) -> bool:
        """Whether a rolling restart of this place is under way."""
        return self._is_rolling

    def fill(self) -> None:
        """Put a process into the empty place."""
        self.restart_at = None
        try:
            self.current = self._spawn()
        except OSError as error:
            # Out of processes, memory or descriptors: this passes, or people act on the log.
            self._deaths_in_a_row += 1
            self.restart_at = monotonic() + self._delay()
            _log.error("no process could be started", worker=self.spec.name, error=str(error))

    def roll(self) -> None:
        """Replace the process by a new one, which must be able to boot first."""
        if self.current is not None and self.successor is None and not self._is_closing:
            self._is_rolling = True
            self.successor = self._spawn()

    def close(self) -> None:
        """Drain what is here, and put nothing new in."""
        self._is_closing = True
        self.restart_at = None
        for child in self.children:
            child.drain(self.policy.margin_s)

    def on_note(self, child: Child, note: Note) -> None:
        """A process told something."""
        child.hear(note)
        kind = note["kind"]
        if kind == "standby":
            self._on_standby(child)
        elif kind == "ready":
            self._on_ready(child)
        elif kind == "successor":
            self._on_successor_wanted(child, is_waiting=note.get("is_waiting", False))
        elif kind == "draining" and child is self.current:
            self._hand_over()

    def on_exit(self, child: Child) -> int:
        """A process has ended; its return code as `subprocess.Popen` gives it."""
        code = child.reap()
        is_clean = code in CLEAN_EXITS
        self.past.update(child.facts.get("counts", {}))
        if is_clean:
            _log.debug("worker process ended", worker=child.spec.name, pid=child.pid, exit=code)
        elif child.refusal is None:
            _log_death(child, code)
        if child is self.successor:
            self._on_successor_lost()
        elif child is self.current:
            self.current = None
            self._on_current_lost(child, code, is_clean=is_clean)
        else:
            self.leaving.remove(child)
        return code

    def _spawn(self) -> Child:
        child = self._nursery.spawn(self.spec)
        self._on_spawn(self, child)
        return child

    def _on_standby(self, child: Child) -> None:
        if self._is_closing:
            child.drain(self.policy.margin_s)
        elif child is self.current:
            child.go()
        elif child is self.successor and self._is_rolling and self.current is not None:
            # It gives up its place as soon as it answers.
            self.current.drain(self.policy.margin_s)

    def _on_ready(self, child: Child) -> None:
        self._was_ready = True
        self._boots_in_a_row = 0
        if child is self.current and self.successor is None:
            self._is_rolling = False

    def _on_successor_wanted(self, child: Child, *, is_waiting: bool) -> None:
        if child is not self.current or self.successor is not None or self._is_closing:
            return
        self._is_rolling = is_waiting
        self.successor = self._spawn()

    def _hand_over(self) -> None:
        """The current process takes no more tasks: whoever is ready takes its place."""
        if self._is_closing or self.current is None:
            return
        self.leaving.append(self.current)
        self.current, self.successor = self.successor or self._spawn(), None
        if self.current.phase is Phase.STANDBY:
            self.current.go()

    def _on_successor_lost(self) -> None:
        lost, self.successor = self.successor, None
        self._is_rolling = False
        if lost is not None and not self._is_closing:
            _log.error(
                "a new worker process could not start; the old one goes on",
                worker=self.spec.name,
                error=lost.refusal,
            )

    def _on_current_lost(self, child: Child, code: int, *, is_clean: bool) -> None:
        if self._is_closing:
            return
        if self.successor is not None:
            self.current, self.successor = self.successor, None
            if self.current.phase is Phase.STANDBY:
                self.current.go()
            return
        self._count_death(child, code, is_clean=is_clean)
        if self.failure is None:
            self.restart_count += 1
            self.restart_at = monotonic() + self._delay()

    def _count_death(self, child: Child, code: int, *, is_clean: bool) -> None:
        if child.ready_at is not None:
            was_stable = monotonic() - child.ready_at >= self.policy.stable_s
            before = 0 if is_clean or was_stable else self._deaths_in_a_row
            self._deaths_in_a_row = before + (not is_clean)
            return
        self._deaths_in_a_row += 1
        if code == Exit.TRY_AGAIN:
            return
        self._boots_in_a_row += 1
        is_final = code == Exit.REFUSED and not self._was_ready
        if is_final or self._boots_in_a_row >= self.policy.boot_attempts:
            self.failure = child.refusal or (
                f"The worker {self.spec.worker} cannot be kept up: {self._boots_in_a_row} "
                f"processes in a row ended while they started, the last with "
                f"{describe_exit(code)}. What they wrote before is in the log."
            )

    def _delay(self) -> float:
        n = self._deaths_in_a_row
        if n == 0:
            return 0.0
        return exponential(n - 1, base=self.policy.first_s, cap=self.policy.cap_s)


def _log_death(child: Child, code: int) -> None:
    facts = {"worker": child.spec.name, "pid": child.pid, "end": describe_exit(code)}
    if child.running:
        age_s = round(monotonic() - child.facts_at, 1)
        running = [f"{each.get('task')} {each.get('id')}" for each in child.running]
        facts |= {"was_running": running, "as_of_s": age_s}
    if code == Exit.CUT_SHORT:
        _log.warning("worker process ended although a task would not; it is redelivered", **facts)
    elif child.is_killed:
        _log.warning("worker process was killed by us: its drain took too long", **facts)
    elif child.phase is Phase.BOOTING:
        _log.error("worker process died while it started", **facts)
    else:
        _log.error("worker process died", **facts)
