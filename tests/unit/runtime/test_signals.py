from __future__ import annotations

import asyncio
import os
import selectors
import signal
import subprocess
import sys
import threading
from pathlib import Path

import cifra_jobs
from cifra_jobs.runtime.signals import DRAIN, SignalPipe, describe_exit
from cifra_jobs.runtime.stacks import format_stacks


def test_signals_come_in_their_order_and_the_handlers_before_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalPipe(DRAIN) as signals, selectors.DefaultSelector() as selector:
        selector.register(signals.fileno(), selectors.EVENT_READ)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert selector.select(10)
        assert signals.read() == [signal.SIGTERM, signal.SIGINT]
        assert signals.read() == []
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_exit_is_told_in_words() -> None:
    assert describe_exit(-9) == "killed by SIGKILL"
    assert describe_exit(3) == "exit code 3"
    assert describe_exit(-99) == "killed by signal 99"


def test_a_child_gets_a_sigterm_when_its_parent_is_killed() -> None:
    child = (
        "import os, signal, sys\n"
        "from cifra_jobs.runtime.signals import die_with_parent\n"
        "assert die_with_parent(int(sys.argv[1]))\n"
        "print('bound', flush=True)\n"
        "signal.pause()\n"
    )
    parent = (
        "import os, signal, subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())])\n"
        "signal.pause()\n"
    )
    root = str(Path(cifra_jobs.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", parent],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"bound\n"
        process.kill()
        assert process.stdout.read() == b"", "the pipe ends with the last process that holds it"


def test_a_dump_shows_threads_and_coroutines_by_name() -> None:
    gate, is_waiting = threading.Event(), threading.Event()

    def wait_at_the_gate() -> None:
        is_waiting.set()
        gate.wait()

    async def inner() -> None:
        await asyncio.sleep(60)

    async def outer() -> None:
        await inner()

    async def sleep_on_the_loop() -> str:
        asleep = asyncio.create_task(outer(), name="long nap")
        await asyncio.sleep(0)
        text = format_stacks()
        asleep.cancel()
        return text

    thread = threading.Thread(target=wait_at_the_gate, name="gatekeeper")
    thread.start()
    assert is_waiting.wait(10)
    text = asyncio.run(sleep_on_the_loop())
    gate.set()
    thread.join()
    assert "gatekeeper" in text
    assert "wait_at_the_gate" in text
    assert "long nap" in text
    assert "in outer" in text
    assert "in inner" in text, "down to where it waits"
