"""A worker process without a worker: it does what its overrides say, and speaks the line."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from cifra_jobs.runtime.children import ChildSpec
from cifra_jobs.runtime.signals import die_with_parent
from cifra_jobs.runtime.wire import Exit, Line


def main() -> int:
    line = Line(socket.socket(fileno=int(sys.argv[1])))
    spec = ChildSpec.from_note(_hear(line))
    play, folder = spec.overrides["play"], Path(spec.overrides["folder"])
    die_with_parent(int(sys.argv[2]))
    number = len(list(folder.glob("boot-*")))
    (folder / f"boot-{number}").write_text(str(time.monotonic()))
    if play == "refuse" or (play == "refuse-later" and number > 0):
        line.send("refused", error="The module of tasks shop cannot be imported.")
        return Exit.REFUSED
    if play == "crash-at-boot":
        os.kill(os.getpid(), signal.SIGSEGV)
    line.send("standby", worker_id=f"worker-{number}")
    order = _hear(line)
    if order["kind"] != "go":
        return Exit.DRAINED
    line.send("ready", pid=os.getpid(), number=number)
    line.send("facts", running=[{"task": "nap", "id": "t1"}], is_connected=True, rss=7, counts={})
    return _work(line, play, number)


def _work(line: Line, play: str, number: int) -> int:
    if play == "die" and number < 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if play == "recycle" and number == 0:
        line.send("successor", is_waiting=True)
    if play == "deaf":
        threading.Event().wait()
    while True:
        order = _hear(line)
        if order["kind"] == "drain" and play != "long":
            line.send("draining")
            return Exit.DRAINED
        if order["kind"] == "hurry":
            return Exit.DRAINED
        if order["kind"] == "gone":
            return Exit.DRAINED


def _hear(line: Line) -> dict[str, object]:
    if not _waiting:
        notes = line.read()
        _waiting.extend(notes if notes is not None else [{"kind": "gone"}])
    return _waiting.pop(0)


_waiting: list[dict[str, object]] = []

if __name__ == "__main__":
    sys.exit(main())
