"""One worker process as its supervisor sees it; `Nursery` makes them."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from cifra_jobs.runtime.wire import Line, Note

__all__ = ["Child", "ChildSpec", "Forked", "Phase", "Process"]


@dataclass(frozen=True)
class ChildSpec:
    """What one worker process is to be; travels as JSON.

    Attributes:
        worker: name of the worker entry.
        index: which of the entry's processes it is, from 0.
        queues: short names of the queues to consume.
        concurrency: slots of this one process.
        mode: ``threads``, ``async`` or ``auto``.
        prefetch_multiplier: messages taken ahead per slot; ``None`` leaves it to the settings.
        max_tasks: tasks after which the process is replaced; ``None`` is never.
        max_memory: bytes of resident memory past which it is replaced; ``None`` is never.
        is_replaced_early: its successor is booted before it ends, so that no slot is ever empty.
        modules: modules of tasks to import.
        config: path of the configuration file, ``None`` for the customary places.
        overrides: settings that stand over file and environment.
        grace_s: seconds that a drain gives to running tasks; ``None`` is as long as they take.
    """

    worker: str
    index: int
    queues: tuple[str, ...]
    concurrency: int
    mode: str = "auto"
    prefetch_multiplier: int | None = None
    max_tasks: int | None = None
    max_memory: int | None = None
    is_replaced_early: bool = False
    modules: tuple[str, ...] = ()
    config: str | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    grace_s: float | None = None

    @classmethod
    def from_note(cls, note: Note) -> ChildSpec:
        """What a ``boot`` order says."""
        known = {each.name for each in fields(cls)}
        told = {name: value for name, value in note.items() if name in known}
        return cls(**told | {"queues": tuple(note["queues"]), "modules": tuple(note["modules"])})

    @property
    def name(self) -> str:
        """How people call it: ``default[0]``."""
        return f"{self.worker}[{self.index}]"


class Process(Protocol):
    """A child process of ours: a `subprocess.Popen`, or a `Forked` one."""

    pid: int

    def send_signal(self, number: int, /) -> None:
        """Send it a signal, unless it was waited for."""
        ...

    def wait(self) -> int:
        """Wait for its end; the return code as `subprocess.Popen` gives it."""
        ...


class Forked:
    """A child process that was forked, not started by `subprocess`.

    Args:
        pid: its process id; it must be a child of this process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def send_signal(self, number: int, /) -> None:
        """Send it a signal, unless it was waited for: its id may be another's by then."""
        if self._code is None:
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for its end; the exit code, or the number of the signal below zero."""
        if self._code is None:
            _, status = os.waitpid(self.pid, 0)
            self._code = os.waitstatus_to_exitcode(status)
        return self._code


class Phase(StrEnum):
    """How far a child has come."""

    BOOTING = "booting"
    #: Everything is imported; it waits for its ``go``.
    STANDBY = "standby"
    #: It was told to go and is connecting.
    STARTING = "starting"
    WORKING = "working"
    #: It takes no more tasks and finishes those it has.
    DRAINING = "draining"


@dataclass(eq=False)
class Child:
    """A running child process and what it has told about itself."""

    spec: ChildSpec
    process: Process
    line: Line
    #: Readable when the process has ended.
    exit_fd: int
    phase: Phase = Phase.BOOTING
    #: What ``ready`` told: worker id, tasks by queue, servers.
    about: Note = field(default_factory=dict)
    #: The latest ``facts``: running, done, counts, rss, is_connected.
    facts: Note = field(default_factory=dict)
    facts_at: float = 0.0
    ready_at: float | None = None
    #: Why it refused to start, as one sentence.
    refusal: str | None = None
    #: When patience with its drain ends.
    deadline: float | None = None
    is_killed: bool = False

    @classmethod
    def boot(cls, spec: ChildSpec, process: Process, line: Line) -> Child:
        """Tell a process that was just started what to be."""
        child = cls(spec, process, line, os.pidfd_open(process.pid))
        line.send("boot", **asdict(spec))
        return child

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def worker_id(self) -> str | None:
        """The id under which its claims stand, once it has told."""
        return self.about.get("worker_id")

    @property
    def running(self) -> list[dict[str, Any]]:
        """The attempts it was running when it last told."""
        found: list[dict[str, Any]] = self.facts.get("running", [])
        return found

    def hear(self, note: Note) -> None:
        """Remember what it tells about itself."""
        kind = note["kind"]
        if kind == "standby":
            self.about.update(note)
            self.phase = Phase.STANDBY
        elif kind == "ready":
            self.about.update(note)
            self.ready_at = monotonic()
            if self.phase is Phase.STARTING:
                self.phase = Phase.WORKING
        elif kind == "facts":
            self.facts, self.facts_at = note, monotonic()
        elif kind == "refused":
            self.refusal = note["error"]
        elif kind == "draining":
            self.phase = Phase.DRAINING

    def go(self) -> None:
        """Let it take tasks."""
        self.phase = Phase.STARTING
        self.line.send("go")

    def drain(self, margin_s: float) -> None:
        """Let it finish what it runs; ``margin_s`` past its grace it is killed."""
        self.phase = Phase.DRAINING
        if self.deadline is None and self.spec.grace_s is not None:
            self.deadline = monotonic() + self.spec.grace_s + margin_s
        self.line.send("drain")

    def hurry(self, margin_s: float) -> None:
        """Let it cancel and give back what it runs, within ``margin_s``."""
        self.phase = Phase.DRAINING
        soon = monotonic() + margin_s
        self.deadline = soon if self.deadline is None else min(self.deadline, soon)
        self.line.send("hurry")

    def kill(self) -> None:
        """End it now; the broker redelivers what it ran."""
        self.is_killed = True
        self.deadline = None
        self.process.send_signal(signal.SIGKILL)

    def reap(self) -> int:
        """Collect the ended process; its return code as `subprocess.Popen` gives it."""
        code = self.process.wait()
        self.line.close()
        os.close(self.exit_fd)
        return code
