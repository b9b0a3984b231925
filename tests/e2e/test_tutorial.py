"""The tutorial, typed in as it stands: its files written, its commands run, its output compared."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifra_jobs.dev.discovery import FoundServer
from cifra_jobs.testing import eventually

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-task.md"
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: The suite runs where everything is installed already.
INSTALLING = ("python3 -m venv", ". .venv", "pip install")


class Terminal:
    """Two terminals in one: ``cifra dev`` stays up until the next one is started."""

    def __init__(self, folder: Path, servers: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])
        self.folder = folder
        self.task_id = ""
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        self.environment = {
            **kept,
            **servers,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "CIFRA_NAMESPACE": f"tutorial{os.getpid()}",
            "CIFRA_MONITORING__FLOWER__PORT": self.port,
        }
        self.server: subprocess.Popen[bytes] | None = None

    def type(self, command: str, shown: str) -> None:
        command = command.replace("5555", self.port).replace("ID/", f"{self.task_id}/")
        shown = shown.replace("5555", self.port)
        if command.startswith("export "):
            name, _, value = command.removeprefix("export ").partition("=")
            self.environment[name] = value
        elif command.startswith("cifra dev"):
            self.serve(command, shown)
        else:
            self.run(command, shown)

    def run(self, command: str, shown: str) -> None:
        done = subprocess.run(
            shlex.split(command),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
            check=False,
        )
        assert pattern(shown).search(done.stdout), f"$ {command}\n{done.stdout}\nnot\n{shown}"
        if found := re.search(r'"id":"([^"]+)"', done.stdout):
            self.task_id = found[1]

    def serve(self, command: str, shown: str) -> None:
        self.close()
        said = self.folder / "dev.log"
        with said.open("wb") as log:
            self.server = subprocess.Popen(
                shlex.split(command),
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        wanted = pattern(shown)
        eventually(
            lambda: wanted.search(said.read_text()), timeout=40, message=f"{shown} in {said}"
        )

    def close(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(20)


def pattern(shown: str) -> re.Pattern[str]:
    """An ellipsis is whatever comes there."""
    return re.compile(".*?".join(map(re.escape, shown.strip().split("…"))), re.DOTALL)


@pytest.fixture
def terminal(
    tmp_path: Path, rabbitmq_server: FoundServer, redis_server: FoundServer
) -> Iterator[Terminal]:
    servers = {"RABBITMQ_URL": rabbitmq_server.url, "REDIS_URL": redis_server.url}
    terminal = Terminal(tmp_path, servers)
    yield terminal
    terminal.close()


@pytest.mark.timeout(180)
def test_the_tutorial_works_as_it_stands(terminal: Terminal) -> None:
    ran = 0
    for language, text in BLOCK.findall(TUTORIAL.read_text()):
        if language == "python":
            name = text.partition("\n")[0].removeprefix("# ")
            (terminal.folder / name).write_text(text)
            continue
        for piece in text.split("$ ")[1:]:
            command, _, shown = piece.partition("\n")
            if not command.startswith(INSTALLING):
                terminal.type(command, shown)
                ran += 1
    assert ran > 8
