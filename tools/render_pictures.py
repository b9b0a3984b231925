"""Draws what the terminal shows, for the README: real commands on private servers, as SVG.

``make pictures`` runs each command on a terminal of its own (a pty), reads what it writes until
there is something to see, and draws that into ``docs/images``. It takes about a minute.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from cifra_jobs.clock import system_clock
from cifra_jobs.dev import PrivateRabbitmq, PrivateRedis

CHECKOUT = Path(__file__).parents[1]
ROWS = 60
#: Columns of the terminals.
WORKER, COMMANDS, RUN = 120, 88, 106
#: Seconds that a command may take to show what is waited for.
PATIENCE_S = 120
#: Percent of the mails that are out when the progress is drawn.
UNDER_WAY = 35
CIFRA = [sys.executable, "-m", "cifra_jobs"]
#: rich's, without the font that the picture would fetch from elsewhere.
SVG = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code", "DejaVu Sans Mono, Menlo, Consolas"
)

Lines = list[str]


class Screen:
    """The lines of a terminal, with their colors.

    Knows what the commands use: new lines, whole lines that are cleared, the cursor going up.
    """

    def __init__(self) -> None:
        """Begin with an empty screen."""
        self.lines: Lines = [""]
        self._row = 0

    def write(self, text: str) -> None:
        """Take what a command has written; it ends at the end of a control sequence.

        Args:
            text: the text.
        """
        for control, plain in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)|([^\x1b\r\n]+)", text):
            if plain or control.endswith("m"):
                self.lines[self._row] += plain or control
            elif control == "\n":
                self._row += 1
                if self._row == len(self.lines):
                    self.lines.append("")
            elif control.endswith("A"):
                self._row -= int(control[2:-1] or 1)
            elif control.endswith("K"):
                self.lines[self._row] = ""

    @property
    def text(self) -> str:
        """All of it, without colors."""
        return "\n".join(Text.from_ansi(line).plain for line in self.lines)


class Terminal:
    """A command on a terminal.

    Args:
        command: program and arguments.
        environment: its variables.
        columns: how wide it is.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str], columns: int) -> None:
        self.screen = Screen()
        self._rest = ""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=CHECKOUT,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)

    def read(self, until: Callable[[str], object] | None = None) -> Lines:
        """Read what it writes.

        Args:
            until: looks at the screen's text, and is true when there is enough; by default
                everything is read, to the end of the command.

        Returns:
            The lines.

        Raises:
            TimeoutError: it did not come; with the screen.
        """
        deadline = system_clock.monotonic() + PATIENCE_S
        while until is None or not until(self.screen.text):
            if not select.select([self._ours], [], [], deadline - system_clock.monotonic())[0]:
                raise TimeoutError(f"This is all there is to see:\n{self.screen.text}")
            if not self._read():
                break
        return list(self.screen.lines)

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # how a terminal says that nobody holds its other end any more
            return False
        text = self._rest + data.decode(errors="ignore")
        # A sequence may have arrived by halves.
        cut = re.search(r"\x1b(\[[0-9;?]*)?$", text)
        end = cut.start() if cut else len(text)
        self.screen.write(text[:end])
        self._rest = text[end:]
        return bool(data)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Wait for its end."""
        self._process.wait(PATIENCE_S)
        os.close(self._ours)


@contextmanager
def running(command: list[str], environment: Mapping[str, str]) -> Iterator[Terminal]:
    """A command on a terminal, interrupted at the end of the block.

    Args:
        command: program and arguments.
        environment: its variables.
    """
    terminal = Terminal(command, environment, WORKER)
    try:
        yield terminal
    finally:
        terminal.interrupt()
        terminal.read()
        terminal.close()


def shown(command: list[str], environment: Mapping[str, str]) -> Lines:
    """All that a command shows.

    Args:
        command: program and arguments.
        environment: its variables.
    """
    terminal = Terminal(command, environment, COMMANDS)
    lines = terminal.read()
    terminal.close()
    return lines


def draw(path: Path, columns: int, *commands: tuple[str, Lines]) -> None:
    """Write one picture.

    Args:
        path: the file.
        columns: how wide the terminal was.
        commands: what was typed, and what the terminal showed then.
    """
    console = Console(
        width=columns, record=True, file=io.StringIO(), force_terminal=True, highlight=False
    )
    for number, (typed, lines) in enumerate(commands):
        if number:
            console.print()
        console.print(Text.assemble(("$ ", "green"), (typed, "bold")))
        for line in _trimmed(lines):
            text = Text.from_ansi(line)
            # A terminal breaks a long line at its edge, not between words.
            for piece in text.divide(range(columns, len(text), columns)):
                console.print(piece, no_wrap=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        console.export_svg(title="", code_format=SVG, unique_id=path.stem), encoding="utf-8"
    )
    print(f"{path}  {path.stat().st_size / 1024:.0f} KB", flush=True)


def _trimmed(lines: Lines) -> Lines:
    """Without the empty lines at both ends, and without this machine's folders."""
    kept = [line.replace(f"{CHECKOUT}/", "") for line in lines]
    while kept and not Text.from_ansi(kept[-1]).plain.strip():
        kept.pop()
    while kept and not Text.from_ansi(kept[0]).plain.strip():
        kept.pop(0)
    return kept


def draw_commands(folder: Path, environment: Mapping[str, str], place: Path) -> None:
    """The worker with some tasks, and the commands that look at it.

    Args:
        folder: for the pictures.
        environment: with the servers.
        place: a folder for files of the tasks.
    """
    picture = place / "beach.jpg"
    Image.linear_gradient("L").resize((1200, 800)).convert("RGB").save(picture)
    worker = ["worker", "start", "--config", "workers/worker_config.yaml", "--all"]
    with running([*CIFRA, *worker], environment) as terminal:
        terminal.read(lambda text: "╰" in text)
        _send(environment, "generate_monthly_report", "[3, 2025]")
        _send(environment, "make_thumbnail", f'["{picture}", 256]')
        failed = _send(environment, "import_contacts", '["march.csv"]')
        terminal.read(lambda text: text.count("→ success") >= 3)  # noqa: PLR2004 - one failed
        lists = shown([*CIFRA, "queue", "list"], environment)
        doctor = shown([*CIFRA, "doctor"], environment)
        status = shown([*CIFRA, "task", "status", failed], environment)
        terminal.interrupt()
        lines = terminal.read()
    draw(folder / "worker.svg", WORKER, ("cifra " + " ".join(worker), lines))
    draw(
        folder / "commands.svg",
        COMMANDS,
        ("cifra doctor", doctor),
        ("cifra queue list", lists),
        (f"cifra task status {failed}", status),
    )


def _send(environment: Mapping[str, str], task: str, arguments: str) -> str:
    command = [*CIFRA, "task", "send", task, "--args", arguments]
    return subprocess.check_output(command, env=environment, cwd=CHECKOUT, text=True).strip()


def draw_main_job(folder: Path, environment: Mapping[str, str]) -> None:
    """``make run``, under way and at its end.

    Args:
        folder: for the pictures.
        environment: without servers.
    """

    def is_under_way(text: str) -> bool:
        percent = re.search(r"E-mails.*?(\d+)%", text)
        return percent is not None and int(percent[1]) >= UNDER_WAY

    command = [sys.executable, "-m", "workers.demo", "--contacts", "300"]
    terminal = Terminal(command, environment, RUN)
    draw(folder / "run-progress.svg", RUN, ("make run", terminal.read(is_under_way)))
    draw(folder / "run.svg", RUN, ("make run", terminal.read()))
    terminal.close()


def main(arguments: list[str]) -> int:
    """Draw all pictures.

    Args:
        arguments: those of the command line.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=CHECKOUT / "docs" / "images")
    folder = parser.parse_args(arguments).out
    plain = {"COLUMNS", "LINES", "NO_COLOR", "RABBITMQ_URL", "REDIS_URL", "CIFRA_CONFIG"}
    environment = {key: value for key, value in os.environ.items() if key not in plain}
    environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    draw_main_job(folder, environment)
    with PrivateRabbitmq() as rabbitmq, PrivateRedis() as redis, TemporaryDirectory() as place:
        servers = {
            "RABBITMQ_URL": rabbitmq.url,
            "REDIS_URL": redis.url,
            "DATABASE_URL": f"sqlite:///{place}/cifra.db",
            "FILES_DIR": f"{place}/files",
        }
        draw_commands(folder, environment | servers, Path(place))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
