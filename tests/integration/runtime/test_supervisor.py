"""The supervisor over tiny real processes (puppet.py)."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cifra_jobs
from cifra_jobs.runtime.children import Child, ChildSpec, Phase
from cifra_jobs.runtime.nursery import Nursery
from cifra_jobs.runtime.signals import DRAIN, ROLL, SignalPipe
from cifra_jobs.runtime.slots import RestartPolicy
from cifra_jobs.runtime.supervisor import Supervisor

PUPPET = (sys.executable, str(Path(__file__).with_name("puppet.py")))
QUICK = RestartPolicy(first_s=0.2, cap_s=1.6, stable_s=60, boot_attempts=3, margin_s=5)


class Stage:
    """A supervisor on a thread of its own, and what it told."""

    def __init__(
        self, folder: Path, play: str, *, count: int = 1, grace_s: float | None = 5
    ) -> None:
        self.folder = folder
        self.gone: list[str] = []
        #: Seconds from each death to the next start, as planned then.
        self.waits: list[float] = []
        self.is_ready = threading.Event()
        self.exit_code: int | None = None
        specs = [
            ChildSpec(
                "default",
                index,
                ("default",),
                1,
                overrides={"play": play, "folder": str(self._home(index))},
                grace_s=grace_s,
            )
            for index in range(count)
        ]
        self.supervisor = Supervisor(
            specs,
            policy=QUICK,
            nursery=Nursery(command=PUPPET),
            on_gone=self._on_gone,
            on_ready=lambda _: self.is_ready.set(),
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _home(self, index: int) -> Path:
        home = self.folder / str(index)
        home.mkdir()
        return home

    def _on_gone(self, worker_id: str) -> None:
        self.gone.append(worker_id)
        self.waits += [
            slot.restart_at - time.monotonic()
            for slot in self.supervisor.slots
            if slot.restart_at is not None
        ]

    def _run(self) -> None:
        self.exit_code = self.supervisor.run()

    def start(self) -> Stage:
        self._thread.start()
        assert self.is_ready.wait(20), "the processes should become ready"
        return self

    def run_to_end(self) -> int | None:
        self._thread.start()
        return self.end()

    def end(self) -> int | None:
        self._thread.join(20)
        assert not self._thread.is_alive(), "the supervisor should have ended"
        return self.exit_code

    def boots(self, index: int = 0) -> list[float]:
        files = sorted((self.folder / str(index)).glob("boot-*"))
        return [float(each.read_text()) for each in files]

    def pids(self) -> list[int]:
        return [child.pid for slot in self.supervisor.slots for child in slot.children]


@pytest.fixture(autouse=True)
def _package_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout that is not installed, too."""
    root = Path(cifra_jobs.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{root}:{os.environ.get('PYTHONPATH', '')}")


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Any]:
    made: list[Stage] = []

    def make(play: str, **options: Any) -> Stage:
        made.append(Stage(tmp_path, play, **options))
        return made[-1]

    yield make
    for stage in made:
        for slot in stage.supervisor.slots:
            for child in slot.children:
                child.kill()


def test_a_stop_drains_all_processes_and_ends_with_0(stages: Any) -> None:
    stage = stages("work", count=3).start()
    stage.supervisor.stop()
    assert stage.end() == 0
    assert stage.gone == [], "a process that drained has said its own goodbye"


def test_a_dead_process_is_restarted_alone_with_growing_waits(stages: Any) -> None:
    stage = stages("die").start()
    _until(stage, lambda status: status["restarts"] == 2 and status["is_up"])
    assert len(stage.boots()) == 3
    first, second = stage.waits
    assert 0 < first <= QUICK.first_s < second <= 2 * QUICK.first_s
    assert stage.gone == ["worker-0", "worker-1"], "the store hears of each death"
    stage.supervisor.stop()
    assert stage.end() == 0


def test_only_the_dead_process_is_replaced(stages: Any) -> None:
    stage = stages("work", count=2).start()
    victim, other = stage.pids()
    os.kill(victim, signal.SIGKILL)
    _until(stage, lambda status: status["restarts"] == 1 and status["is_up"])
    assert other in stage.pids()
    assert victim not in stage.pids()
    stage.supervisor.stop()
    assert stage.end() == 0


def test_a_death_is_logged_with_its_signal_and_what_it_ran(
    stages: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stage = stages("work").start()
    _until(stage, lambda status: status["running"] == 1)
    os.kill(stage.pids()[0], signal.SIGKILL)
    _until(stage, lambda status: status["restarts"] == 1 and status["is_up"])
    stage.supervisor.stop()
    stage.end()
    told = caplog.text
    assert "killed by SIGKILL" in told
    assert "nap t1" in told


def test_a_refused_start_ends_everything_with_the_reason(stages: Any) -> None:
    stage = stages("refuse")
    assert stage.run_to_end() == 1
    assert stage.supervisor.failure == "The module of tasks shop cannot be imported."
    assert len(stage.boots()) == 1, "what is refused is not tried again"


def test_a_crash_loop_at_boot_gives_up_with_a_sentence(stages: Any) -> None:
    stage = stages("crash-at-boot")
    assert stage.run_to_end() == 1
    assert len(stage.boots()) == QUICK.boot_attempts
    assert "killed by SIGSEGV" in str(stage.supervisor.failure)


def test_a_second_stop_hurries_a_long_drain(stages: Any) -> None:
    stage = stages("long", grace_s=None).start()
    stage.supervisor.stop()
    stage.supervisor.stop()
    assert stage.end() == 0


def test_a_third_stop_kills(stages: Any) -> None:
    stage = stages("deaf", grace_s=None).start()
    for _ in range(3):
        stage.supervisor.stop()
    assert stage.end() == 1
    assert stage.gone == ["worker-0"]


def test_a_drain_that_outlasts_its_grace_is_killed(stages: Any) -> None:
    stage = stages("deaf", grace_s=0)
    object.__setattr__(stage.supervisor.policy, "margin_s", 0.1)
    stage.start()
    stage.supervisor.stop()
    assert stage.end() == 1


def test_a_process_that_wants_a_successor_works_until_that_one_has_booted(stages: Any) -> None:
    stage = stages("recycle").start()
    _until(stage, lambda status: status["is_up"] and len(stage.boots()) == 2)
    assert stage.supervisor.status()[0]["restarts"] == 0, "a recycled process is no death"
    stage.supervisor.stop()
    assert stage.end() == 0
    assert stage.gone == []


def test_a_rolling_restart_keeps_the_old_process_when_the_new_one_cannot_boot(
    stages: Any,
) -> None:
    stage = stages("refuse-later").start()
    slot = stage.supervisor.slots[0]
    old = slot.current
    stage.supervisor.roll()
    _until(stage, lambda _: len(stage.boots()) == 2 and slot.successor is None)
    assert slot.current is old
    assert slot.current.phase is Phase.WORKING
    stage.supervisor.stop()
    assert stage.end() == 0


def test_signals_of_the_main_thread_roll_and_drain(tmp_path: Path) -> None:
    specs = [
        ChildSpec("w", n, ("q",), 1, overrides={"play": "work", "folder": str(tmp_path)}, grace_s=5)
        for n in range(2)
    ]
    seen: list[int] = []

    def on_ready(children: list[Child]) -> None:
        seen.extend(child.pid for child in children)
        os.kill(os.getpid(), signal.SIGHUP)
        watcher.start()

    def watch() -> None:
        _until_true(lambda: not set(seen) & set(_current_pids(supervisor)) and _all_up(supervisor))
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=watch, daemon=True)
    supervisor = Supervisor(specs, policy=QUICK, nursery=Nursery(command=PUPPET), on_ready=on_ready)
    with SignalPipe(DRAIN | ROLL) as signals:
        assert supervisor.run(signals) == 0
    assert len(list(tmp_path.glob("boot-*"))) == 4


def _current_pids(supervisor: Supervisor) -> list[int | None]:
    return [status["pid"] for status in supervisor.status()]


def _all_up(supervisor: Supervisor) -> bool:
    return all(status["is_up"] for status in supervisor.status())


def _until(stage: Stage, claim: Any) -> None:
    _until_true(lambda: claim(stage.supervisor.status()[0]))


def _until_true(claim: Any) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if claim():
            return
        pause.wait(0.01)
    raise AssertionError("the state waited for never came")
