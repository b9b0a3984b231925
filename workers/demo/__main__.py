"""``python -m workers.demo``: the main job from end to end."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from cifra_jobs.dev import Servers, find_servers
from cifra_jobs.errors import CifraError
from workers.demo.fleet import WorkersGoneError
from workers.demo.run import Options, UnfinishedError, run

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Contacts in the data set, seconds after which the run gives up: unless told otherwise.
_DEFAULT_CONTACTS, _DEFAULT_TIMEOUT = 2_400, 300
#: Fewer contacts would leave some kind of bad data out.
_FEWEST_CONTACTS = 150
#: Problems that are printed; the rest is counted.
_SHOWN_PROBLEMS = 10
#: Columns of what is no terminal.
_LOG_WIDTH = 110
_EMBEDDED = (
    "This ran on the embedded default, without RabbitMQ and Redis: broker, store and workers were "
    "in this one process, and nothing of the queues outlives it."
)
#: Exit codes: what shells give for a process that was interrupted.
_SUCCESS, _PROBLEM, _INTERRUPTED = 0, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the main job, and say by the exit code whether all of it ended as it should."""
    options = _parse(arguments)
    # A log has no width of its own; the summary needs this much.
    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    # An end that is asked for politely tidies up as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _make_folder(options.out)
        with _servers(options, console) as servers:
            problems = asyncio.run(run(options, servers, console))
            was_embedded = not (servers.rabbitmq and servers.redis)
    except KeyboardInterrupt:
        console.print("\nInterrupted. Workers and servers are stopped.")
        return _INTERRUPTED
    except (CifraError, WorkersGoneError, UnfinishedError, OSError) as error:
        console.print(f"\n[red]The run has stopped:[/red] {escape(str(error))}", highlight=False)
        return _PROBLEM
    if was_embedded:
        console.print(f"\n{_EMBEDDED}")
    return _conclude(problems, console)


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; name another folder with --out.")


def _servers(options: Options, console: Console) -> Servers:
    if options.memory:
        console.print("No servers wanted: broker and store live in this process.")
        return Servers(rabbitmq=None, redis=None)
    servers = find_servers(
        allow_embedded=True, announce=lambda line: console.print(escape(line), highlight=False)
    )
    found = [server.name for server in (servers.rabbitmq, servers.redis) if server]
    if len(found) == 1:
        console.print(f"{found[0]} alone is of no use to this run: both are embedded.")
    return servers


def _conclude(problems: Sequence[str], console: Console) -> int:
    if not problems:
        console.print("\n[green]Everything has ended as it should.[/green]")
        return _SUCCESS
    console.print(f"\n[red]Not everything is as it should be ({len(problems)}):[/red]")
    for problem in problems[:_SHOWN_PROBLEMS]:
        console.print(f"  {escape(problem)}", highlight=False)
    return _PROBLEM


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m workers.demo",
        description="Starts servers and the workers of all queues, feeds them, and reports.",
    )
    parser.add_argument(
        "--contacts",
        type=_contacts,
        default=_DEFAULT_CONTACTS,
        help="contacts to import; a mail is sent to each, the rest scales (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for all files (default: var/run-<date>-<time>)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=_DEFAULT_TIMEOUT,
        help="seconds after which the run gives up (default: %(default)s)",
    )
    parser.add_argument(
        "--memory", action="store_true", help="use the embedded broker and store, no servers"
    )
    given = parser.parse_args(arguments)
    default = Path("var") / f"run-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    return Options(given.contacts, (given.out or default).absolute(), given.timeout, given.memory)


def _contacts(text: str) -> int:
    if not text.isdecimal() or int(text) < _FEWEST_CONTACTS:
        raise argparse.ArgumentTypeError(
            f"must be a whole number, {_FEWEST_CONTACTS} or more, not {text!r}"
        )
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
