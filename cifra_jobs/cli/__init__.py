"""The command line: parse, call, print.

Commands are imported when they are used, so that ``cifra --help`` is quick.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from cifra_jobs import __version__
from cifra_jobs.cli.groups import LazyGroup, config_option
from cifra_jobs.errors import CifraError, NotYetBuilt

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cifra", "main"]

#: What the shell knows from Ctrl-C.
_INTERRUPTED = 130
_USAGE = 2


@click.group(
    cls=LazyGroup,
    path=(),
    commands={
        "worker": "cifra_jobs.cli.workers:worker",
        "task": "cifra_jobs.cli.tasks:task",
        "queue": "cifra_jobs.cli.queues:queue",
        "config": "cifra_jobs.cli.configuration:config",
        "doctor": "cifra_jobs.cli.diagnosis:doctor",
        "dev": "cifra_jobs.cli.development:dev",
        "flower": "cifra_jobs.cli.web:flower",
    },
    help_lines={
        "worker": "Start workers.",
        "task": "Send a task; look at one; revoke one.",
        "queue": "List, declare, verify and purge queues.",
        "config": "Check and show the configuration.",
        "doctor": "Look for what could go wrong: servers, topology, tasks, clocks.",
        "dev": "Worker and API in one terminal, on private servers or in memory.",
        "flower": "Serve the status of tasks over HTTP.",
    },
    context_settings={"help_option_names": ["-h", "--help"]},
)
@config_option
@click.version_option(__version__, prog_name="cifra")
def cifra(**_options: object) -> None:
    """Background jobs over RabbitMQ and Redis."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command; the process ends with its exit code.

    An error is one sentence on standard error and no traceback, unless ``CIFRA_TRACEBACK=1``.
    """
    try:
        code = cifra.main(
            None if arguments is None else list(arguments),
            prog_name="cifra",
            standalone_mode=False,
        )
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (`| head`) has what it wanted; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (click.Abort, KeyboardInterrupt):
        code = _INTERRUPTED
    except Exception as error:  # the last line before the user
        if os.environ.get("CIFRA_TRACEBACK") == "1":
            raise
        code = _told(error)
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: Exception) -> int:
    """Say in a sentence what went wrong; gives the exit code."""
    if isinstance(error, click.ClickException):
        click.echo(f"Error: {error.format_message()}", err=True)
        return error.exit_code
    if isinstance(error, CifraError):
        click.echo(f"Error: {error}", err=True)
        return _USAGE if isinstance(error, NotYetBuilt) else 1
    click.echo(f"Error: {type(error).__name__}: {error} (CIFRA_TRACEBACK=1 shows where)", err=True)
    return 1
