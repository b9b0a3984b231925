"""Writes docs/reference/ from the code: ``python -m tools.generate_reference [--check]``.

What a page says that is not read from the code (two sentences at its head) is in `HEADS`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tools import reference_facts as facts
from tools import reference_protocol as protocol

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PAGES", "main", "rendered"]

FOLDER = Path(__file__).parents[1] / "docs" / "reference"

_MARK = "<!-- Written from the code by `python -m tools.generate_reference`; do not edit. -->"

#: File name → title, the sentences at its head, and what writes the rest.
PAGES: dict[str, tuple[str, str, Callable[[], str]]] = {
    "options.md": (
        "Task options",
        (
            "For `@task(…)`, `task_defaults` and `task_routes`; those marked *call* also for"
            " `apply_async(…)` and `signature.set(…)`. The first place that names an option wins:"
            " call, route, decorator, `task_defaults`, settings. Our options take seconds or"
            " `timedelta`; Dramatiq's spellings keep Dramatiq's milliseconds. An unknown name is an"
            " `OptionError` that names the nearest one."
        ),
        facts.options,
    ),
    "settings.md": (
        "Settings",
        (
            "Keyword arguments of `cifra_jobs.configure()` win over the environment, that over the"
            " file, that over the defaults. The file is `--config`, else `CIFRA_CONFIG`, else"
            " `./config.yaml`; settings are under `background_jobs:`. A commented file with every"
            " key is [config.yaml](../../config.yaml). `NAME` stands for a name of yours."
        ),
        facts.settings,
    ),
    "commands.md": (
        "Commands",
        (
            "`--json` prints for programs. An error is one sentence on standard error."
            " `CIFRA_TRACEBACK=1` shows the traceback as well."
        ),
        facts.commands,
    ),
    "http.md": (
        "HTTP",
        (
            "`cifra_jobs.web.app()` is an ASGI application to mount; `cifra flower start` serves"
            " it. A worker has probes of its own (settings `probes` and `monitoring.metrics`)."
        ),
        protocol.http,
    ),
    "states.md": (
        "States",
        (
            "`status` has four words, `state` ten. A final state has no arrows: a late duplicate"
            " changes nothing. The table is `ARROWS` in `cifra_jobs/jobs/state.py`."
        ),
        facts.states,
    ),
    "errors.md": (
        "Errors",
        (
            "All derive from `CifraError`. Import them from `cifra_jobs`; those marked are in"
            " `cifra_jobs.errors`."
        ),
        facts.errors,
    ),
    "redis-keys.md": (
        "Redis keys",
        (
            "Read them when you must, write them never: each is written by one script"
            " (`cifra_jobs/store/lua/`)."
        ),
        protocol.redis_keys,
    ),
    "rabbitmq-topology.md": (
        "RabbitMQ topology",
        (
            "For the namespace `cifra` and two queues, a classic one called `default` and a quorum"
            " one called `ledger`. Everything is durable. `cifra queue verify` compares a server"
            " with it."
        ),
        protocol.topology,
    ),
    "logs.md": (
        "Log lines and metrics",
        (
            "JSON where standard error is no terminal (`logging.format`). Every line has"
            " `timestamp`, `level`, `event` and `logger`. Search by `event`.\n\n"
            "On a terminal, for reading: local time, no level where it is `info`, no logger where"
            " it is ours, and a change of state as `TASK FROM → TO`."
        ),
        protocol.logs,
    ),
}


def rendered(name: str) -> str:
    """The whole text of a page."""
    title, head, body = PAGES[name]
    return f"{_MARK}\n\n# {title}\n\n{head}\n\n{body().strip()}\n"


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` say which are out of date.

    Returns:
        0, or 1 when a page is out of date.
    """
    pages = {FOLDER / name: rendered(name) for name in PAGES}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path} is out of date: python -m tools.generate_reference")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.write_text(pages[path])
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
