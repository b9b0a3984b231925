"""``cifra doctor``: everything that could go wrong, looked at once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from cifra_jobs.cli.checks import (
    Check,
    check_broker,
    check_clock,
    check_publishing,
    check_settings,
    check_store,
    check_tasks,
    check_topology,
)
from cifra_jobs.cli.groups import config_option, include_option, json_option
from cifra_jobs.cli.output import console, json_out, table
from cifra_jobs.cli.queues import named_queues
from cifra_jobs.cli.session import opened
from cifra_jobs.errors import CifraError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cifra_jobs.app import App

__all__ = ["doctor"]

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}


@click.command()
@include_option
@config_option
@json_option
def doctor(*, include: tuple[str, ...], config: Path | None, as_json: bool) -> int:
    """Look for what could go wrong: servers, topology, tasks, clocks. Changes nothing.

    The exit code is 1 if anything is wrong.
    """
    try:
        with opened(config) as app, console(err=True).status("looking"):
            checks = list(_checks(app, config, include))
    except CifraError as error:
        checks = [Check("settings", is_good=False, detail=str(error))]
    if as_json:
        json_out([asdict(check) for check in checks])
    else:
        rows = [(Text(*_MARKS[check.is_good]), check.name, check.detail) for check in checks]
        table(("", "what", "found"), rows)
    return 1 if any(check.is_good is False for check in checks) else 0


def _checks(app: App, config: Path | None, include: tuple[str, ...]) -> Iterator[Check]:
    yield from check_settings(app)
    yield from check_tasks(app, include)
    broker = list(check_broker(app))
    yield from broker
    # With the broker away every queue would be told as missing.
    if broker[0].is_good:
        yield from _topology(app, config)
    yield from check_store(app)
    yield from check_clock(app)


def _topology(app: App, config: Path | None) -> Iterator[Check]:
    try:
        queues = named_queues(app, config, ())
    except CifraError as error:
        yield Check("queues", is_good=False, detail=str(error))
        return
    found = list(check_topology(app, queues))
    yield from found
    if all(check.is_good for check in found):
        yield from check_publishing(app)
    else:
        yield Check("publishing", is_good=None, detail="not tried before the topology is right")
