"""``cifra config``: check and show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifra_jobs.cli.files import settings_from, worker_file_if_any
from cifra_jobs.cli.groups import LazyGroup, config_option, json_option
from cifra_jobs.cli.output import json_out, table, value_text
from cifra_jobs.config import Settings, setting_fields
from cifra_jobs.config.sources import from_environment, from_file
from cifra_jobs.jobs.options import normalize

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["check_options", "config"]


@click.group(cls=LazyGroup, path=("config",))
def config() -> None:
    """Check and show the configuration."""


def check_options(settings: Settings) -> None:
    """See to it that defaults and routes name real task options with good values.

    Raises:
        OptionError: one does not; the nearest name is told.
        NotYetBuilt: an option of a later release.
    """
    normalize(settings.task_defaults, owner="task_defaults")
    for name, options in settings.task_routes.items():
        normalize(options, owner=f"task_routes.{name}")


@config.command()
@config_option
@json_option
def check(*, config: Path | None, as_json: bool) -> None:
    """Say whether settings and worker file are right; needs no server."""
    settings = settings_from(config)
    check_options(settings)
    file = worker_file_if_any(config)
    workers = list(file.workers) if file is not None else []
    if as_json:
        json_out({"ok": True, "file": settings.source_file, "workers": workers})
        return
    click.echo(f"✓ settings: {settings.source_file or 'defaults and environment'}")
    if file is not None:
        click.echo(f"✓ workers: {', '.join(workers)}")


@config.command()
@config_option
@json_option
def show(*, config: Path | None, as_json: bool) -> None:
    """Show every setting in effect and where it comes from; passwords are masked."""
    settings = settings_from(config)
    masked = settings.masked()
    if as_json:
        json_out(masked)
        return
    origins = _origins(settings)
    rows = [
        (".".join(path), value_text(value), _origin(path, origins))
        for path, value in _flat(masked, (), {key for key, _ in setting_fields(Settings)})
    ]
    table(("setting", "value", "from"), rows)


def _flat(
    values: Mapping[str, Any], path: tuple[str, ...], known: set[tuple[str, ...]]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """One row a setting; mappings with free keys stay whole."""
    for key, value in values.items():
        here = (*path, key)
        is_section = any(name[: len(here)] == here and len(name) > len(here) for name in known)
        if (
            isinstance(value, dict)
            and is_section
            and (*here, "NAME") not in {name[: len(here) + 1] for name in known}
        ):
            yield from _flat(value, here, known)
        else:
            yield here, value


def _origins(settings: Settings) -> dict[tuple[str, ...], str]:
    """Which variable or file gives which path; a variable wins."""
    found: dict[tuple[str, ...], str] = {}
    if settings.source_file is not None:
        data = from_file(settings.source_file, is_asked_for=False)
        found = dict.fromkeys(_leaves(data, ()), str(settings.source_file))
    return found | from_environment(Settings, os.environ)[1]


def _leaves(values: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key))


def _origin(path: tuple[str, ...], origins: Mapping[tuple[str, ...], str]) -> str:
    length = len(path)
    names = {
        text for key, text in origins.items() if key[:length] == path or path[: len(key)] == key
    }
    return ", ".join(sorted(names)) or "default"
