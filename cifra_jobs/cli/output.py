"""What commands print: tables and sentences for people, JSON for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["console", "json_out", "progress_bar", "shown", "table", "value_text"]

#: A table in a pipe or a log has no terminal to fit into.
_WIDTH_WITHOUT_TERMINAL = 200


def console(*, err: bool = False) -> Console:
    """A console on the streams of this moment."""
    made = Console(stderr=err, highlight=False)
    if not made.is_terminal:
        made.width = _WIDTH_WITHOUT_TERMINAL
    return made


def json_out(value: Any) -> None:
    """Print one JSON document."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    click.echo(text.decode())


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Print a table; a column of numbers is aligned to the right."""
    rows = [list(row) for row in rows]
    made = Table(
        title=title or None,
        title_justify="left",
        header_style="bold",
        show_header=any(columns),
    )
    for index, name in enumerate(columns):
        is_number = bool(rows) and all(_is_number(row[index]) for row in rows)
        made.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        made.add_row(*(shown(value) for value in row))
    console().print(made)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any) -> Text:
    """A value in a cell; text of others is never read as markup."""
    if isinstance(value, Text):
        return value
    if value is None or value == []:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(f"{value:g}")
    if isinstance(value, datetime):
        return Text(value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"))
    if isinstance(value, list | tuple | set):
        return Text(", ".join(str(item) for item in value))
    return Text(str(value))


def value_text(value: Any) -> str:
    """A result for people: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2).decode()


def progress_bar() -> Progress:
    """A bar on standard error, gone when it is done; nothing where there is no terminal."""
    on = console(err=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=on,
        transient=True,
        disable=not on.is_terminal,
    )
