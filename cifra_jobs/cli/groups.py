"""Groups of commands: loaded when used, refused when not built yet, and options they share."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cifra_jobs.errors import NotYetBuilt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["LATER", "LazyGroup", "config_option", "config_path", "include_option", "json_option"]

F = TypeVar("F", bound="Callable[..., Any]")

#: Documented commands of later releases, and what they need.
LATER: dict[tuple[str, ...], str] = {
    ("scheduler",): "schedules",
    ("dlq",): "reading and redriving dead letters",
    ("inspect",): "looking into running workers",
    ("events",): "the live feed",
    ("limits",): "rate and concurrency limits",
    ("workflow",): "workflows",
    ("queue", "pause"): "pausing queues",
    ("queue", "resume"): "pausing queues",
}


class LazyGroup(click.Group):
    """A group that imports a command when it is used.

    Args:
        path: the words that lead to this group, without ``cifra``.
        commands: where each command is: ``module:attribute``, or the command itself.
        help_lines: one line about each, for the help of the group.
    """

    def __init__(
        self,
        *args: Any,
        path: tuple[str, ...],
        commands: Mapping[str, str] | None = None,
        help_lines: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._path = path
        self._places = dict(commands or {})
        self._help_lines = dict(help_lines or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are written down."""
        del ctx
        return [*self._places, *(name for name in self.commands if name not in self._places)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now.

        Raises:
            NotYetBuilt: it belongs to a later release.
        """
        if (needs := LATER.get((*self._path, cmd_name))) is not None:
            words = " ".join(("cifra", *self._path, cmd_name))
            raise NotYetBuilt(f"`{words}` needs {needs}, which this release does not have")
        if cmd_name in self._places and cmd_name not in self.commands:
            module, _, attribute = self._places[cmd_name].partition(":")
            self.add_command(getattr(importlib.import_module(module), attribute), cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the words name; an unknown one is told the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            # click knows only the commands that are loaded.
            if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
                raise click.exceptions.NoSuchCommand(
                    args[0], possibilities=self.list_commands(ctx), ctx=ctx
                ) from error
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, without importing them."""
        rows = []
        for name in self.list_commands(ctx):
            loaded = self.commands.get(name)
            rows.append(
                (name, self._help_lines.get(name) or (loaded and loaded.get_short_help_str()) or "")
            )
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def config_option(command: F) -> F:
    """``--config FILE``, before or after the command's name."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The configuration; else CIFRA_CONFIG, else ./config.yaml.",
    )(command)


def config_path(given: Path | None) -> Path | None:
    """The file named at this command, else at ``cifra`` itself."""
    if given is not None:
        return given
    root: Path | None = click.get_current_context().find_root().params.get("config")
    return root


def json_option(command: F) -> F:
    """``--json``: output for programs."""
    return click.option("--json", "as_json", is_flag=True, help="JSON, for programs.")(command)


def include_option(command: F) -> F:
    """``--include MODULE``, as often as needed."""
    return click.option(
        "--include",
        multiple=True,
        metavar="MODULE",
        help="A module of tasks; else CIFRA_INCLUDE, include: or the package workers here.",
    )(command)
