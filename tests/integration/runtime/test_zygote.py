"""Worker processes forked from a zygote, without a broker: they end while they boot."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import cifra_jobs
from cifra_jobs.runtime.children import Child, ChildSpec
from cifra_jobs.runtime.nursery import Nursery
from cifra_jobs.runtime.wire import Exit
from cifra_jobs.runtime.zygote import Zygote

#: What it does at boot is up to the test's module of tasks.
MODULE = "tasks_of_a_fork"


@pytest.fixture(autouse=True)
def _package_is_importable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = Path(cifra_jobs.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}:{os.environ.get('PYTHONPATH', '')}")


@pytest.fixture
def zygote() -> Zygote:
    return Zygote.start()


@pytest.fixture
def nursery(zygote: Zygote) -> Iterator[Nursery]:
    made = Nursery(zygote)
    yield made
    made.close()


def spec(folder: Path, code: str, module: str = MODULE) -> ChildSpec:
    (folder / f"{module}.py").write_text(code)
    return ChildSpec("default", 0, ("default",), 1, modules=(module,))


def refusal(child: Child) -> str:
    """What it says when its tasks cannot be imported; it has ended then."""
    while child.refusal is None:
        notes = child.line.read()
        assert notes is not None, "it should say why it ends"
        for note in notes:
            child.hear(note)
    assert child.reap() == Exit.REFUSED
    return child.refusal


def test_a_forked_process_is_our_own_child_in_a_session_of_its_own(
    nursery: Nursery, tmp_path: Path
) -> None:
    code = "import os; raise RuntimeError(f'{os.getppid()} {os.getsid(0) == os.getpid()}')"
    assert f"RuntimeError: {os.getpid()} True" in refusal(nursery.spawn(spec(tmp_path, code)))


def test_a_forked_process_holds_none_of_our_descriptors(nursery: Nursery, tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        code = (
            "import os, pathlib\n"
            "found = [e.resolve() for e in pathlib.Path('/proc/self/fd').iterdir()]\n"
            "raise RuntimeError(found)"
        )
        assert str(tmp_path / "ours") not in refusal(nursery.spawn(spec(tmp_path, code)))


def test_forked_processes_draw_different_random_numbers(nursery: Nursery, tmp_path: Path) -> None:
    code = "import random; raise RuntimeError(random.random())"
    first, second = (refusal(nursery.spawn(spec(tmp_path, code))) for _ in range(2))
    assert first != second


def test_each_forked_process_imports_its_tasks_anew(nursery: Nursery, tmp_path: Path) -> None:
    assert "old code" in refusal(nursery.spawn(spec(tmp_path, "raise RuntimeError('old code')")))
    assert "new" in refusal(nursery.spawn(spec(tmp_path, "raise RuntimeError('new code, longer')")))


def test_a_process_that_is_killed_is_told_apart_from_one_that_exits(
    nursery: Nursery, tmp_path: Path
) -> None:
    child = nursery.spawn(spec(tmp_path, "import os; os.kill(os.getpid(), 9)"))
    assert child.reap() == -signal.SIGKILL


def test_when_the_zygote_dies_its_processes_live_and_new_ones_can_be_made(
    nursery: Nursery, zygote: Zygote, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    code = f"raise RuntimeError(open({str(fifo)!r}).read())"
    waiting = nursery.spawn(spec(tmp_path, code, "tasks_that_wait"))
    os.kill(zygote.pid, signal.SIGKILL)
    # The second is a fresh interpreter, the third is forked from a new zygote.
    for _ in range(2):
        assert "once more" in refusal(
            nursery.spawn(spec(tmp_path, "raise RuntimeError('once more')"))
        )
    fifo.write_text("still here")
    assert "still here" in refusal(waiting)


def test_after_a_renewal_processes_come_from_another_interpreter(
    nursery: Nursery, zygote: Zygote, tmp_path: Path
) -> None:
    nursery.renew()
    with pytest.raises(ProcessLookupError):
        os.kill(zygote.pid, 0)
    assert "renewed" in refusal(nursery.spawn(spec(tmp_path, "raise RuntimeError('renewed')")))
