"""Reference pages read from options, settings, commands, states and errors."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, get_args, get_origin

import click
from pydantic_core import PydanticUndefined

import cifra_jobs
from cifra_jobs import errors as error_module
from cifra_jobs.cli import cifra
from cifra_jobs.cli.groups import LATER as LATER_COMMANDS
from cifra_jobs.config import Settings, setting_fields
from cifra_jobs.config.worker_file import WorkerEntry
from cifra_jobs.jobs.options import LATER, OPTIONS, RunOptions
from cifra_jobs.jobs.state import ARROWS, FINAL_STATES, TaskState, status_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pydantic.fields import FieldInfo

__all__ = ["commands", "errors", "options", "settings", "states", "table"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '¦') for cell in row)} |" for row in lines)


def _code(value: object) -> str:
    return f"`{value}`"


# -- options -----------------------------------------------------------------------------------


def options() -> str:
    """Every task option, and those that are refused."""
    rows = [
        (
            _code(option.name),
            ", ".join(_code(alias) for alias in option.aliases) or "-",
            option.doc,
            _default_of(option.name),
            "yes" if option.per_call else "no",
        )
        for option in OPTIONS.values()
    ]
    later = [(_code(name), needs) for name, needs in LATER.items()]
    return (
        table(("option", "also", "meaning", "default", "call"), rows)
        + "\n\nOnly for a call: `countdown` (s), `eta` (datetime), `task_id`, `headers`, `link`,"
        " `link_error`.\n\n## Refused in this release\n\nEach raises `NotYetBuilt`.\n\n"
        + table(("option", "needs"), later)
    )


def _default_of(name: str) -> str:
    retry = ["retry.max_retries", "retry.default_retry_delay", "retry.retry_backoff"]
    retry += ["retry.retry_backoff_max", "retry.retry_jitter", "result_backend.expires"]
    names = [
        "retry",
        "retry_delay",
        "retry_backoff",
        "retry_backoff_max",
        "retry_jitter",
        "result_expires",
    ]
    paths = dict(zip(names, retry, strict=True))
    if name in paths:
        path = paths[name]
        fields = {".".join(key): field for key, field in setting_fields(Settings)}
        return f"setting `{path}`, {_default(fields[path])}"
    fixed = {"name": "function name", "queue": "`default`", "acks": "`late`", "bind": "by name"}
    fixed["retry_for"] = "every `Exception`"
    if name in fixed:
        return fixed[name]
    run = RunOptions()
    found = getattr(run, name, getattr(run, f"{name}_s", None))
    return "none" if found is None or found == () else _code(found)


# -- settings ----------------------------------------------------------------------------------


def settings() -> str:
    """Every setting with its variable, kind, default and meaning; and the worker file."""
    rows = [
        (
            _code(".".join(path)),
            _code("CIFRA_" + "__".join(path).upper()),
            _kind(field.annotation),
            _default(field),
            field.description or "",
        )
        for path, field in setting_fields(Settings)
    ]
    entry = [
        (_code(name), _kind(field.annotation), _default(field), field.description or "")
        for name, field in WorkerEntry.model_fields.items()
    ]
    return (
        table(("setting", "variable", "kind", "default", "meaning"), rows)
        + "\n\n`RABBITMQ_URL` and `REDIS_URL` are read where `CIFRA_BROKER__URL` and"
        " `CIFRA_RESULT_BACKEND__URL` are not set. In variables lists are joined by commas,"
        " mappings are JSON, `null` unsets. Sizes are bytes or `512KB`, `64MB`, `2GB`.\n\n"
        "## The worker file\n\n`worker_config.yaml` here or in `workers/`, or `--config`:"
        " `workers: {NAME: {…}}`.\n\n" + table(("key", "kind", "default", "meaning"), entry)
    )


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "unset" if field.default is None else _code(field.default)


def _kind(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is None:
        return str(getattr(annotation, "__name__", annotation))
    name = str(getattr(origin, "__name__", origin))
    if name == "Literal":
        return ", ".join(_code(part) for part in parts)
    if name == "Annotated":
        return _kind(parts[0])
    if name in {"Union", "UnionType"}:
        return " or ".join(_kind(part) for part in parts if part is not type(None))
    return {"dict": "mapping", "list": "list"}.get(name, name)


# -- commands ----------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its options, and those that are refused."""
    parts = []
    for words, command in _commands(cifra, ("cifra",)):
        context = click.Context(command, info_name=" ".join(words))
        usage = " ".join(command.collect_usage_pieces(context))
        text = inspect.cleandoc(command.help or "")
        for mark in ("\\b\n", "\b\n"):  # click's own: do not wrap what follows
            text = text.replace(mark, "")
        rows = [
            (f"`{', '.join(option.opts)}`{_metavar(option, context)}", option.help or "")
            for option in command.params
            if isinstance(option, click.Option) and not option.hidden
        ]
        parts.append(f"## {' '.join(words)}\n\n`{' '.join(words)} {usage}`\n\n{_blocks(text)}")
        if rows:
            parts.append(table(("option", "meaning"), rows))
    later = [(_code(" ".join(("cifra", *words))), why) for words, why in LATER_COMMANDS.items()]
    parts.append(
        "## Exit codes\n\n`0` done · `1` failed, for the reason on standard error ·"
        " `2` wrong usage, or not built yet · `130` interrupted"
    )
    parts.append("## Refused in this release\n\n" + table(("command", "needs"), later))
    return "\n\n".join(parts)


def _commands(
    group: click.Group, words: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group, info_name=words[-1])
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, (*words, name))
        elif command is not None:
            yield (*words, name), command


def _metavar(option: click.Option, context: click.Context) -> str:
    return "" if option.is_flag else f" {option.make_metavar(context)}".replace("|", "/")


def _blocks(text: str) -> str:
    """Paragraphs; those that show commands become code."""
    shown = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.strip().splitlines()
        is_code = bool(lines) and all(line.strip().startswith("cifra ") for line in lines)
        joined = "\n".join(line.strip() for line in lines)
        shown.append(f"```console\n{joined}\n```" if is_code else joined)
    return "\n\n".join(shown)


# -- states ------------------------------------------------------------------------------------


def states() -> str:
    """The states, their status word, and what may follow."""
    rows = [
        (
            _code(state),
            _code(status_of(state)),
            ", ".join(_code(to) for to in TaskState if to in ARROWS[state])
            or "nothing: it is final",
        )
        for state in TaskState
    ]
    final = ", ".join(_code(state) for state in TaskState if state in FINAL_STATES)
    return (
        table(("state", "status", "may become"), rows)
        + f"\n\nFinal: {final}. `get()` raises for each of them but `success`: the task's own"
        " exception, `TaskTimeout`, `TaskExpired`, `TaskRevoked` or `TaskSkipped`. A task may end"
        " without a recorded `running`: a run shorter than 5 ms is written as one outcome, and a"
        " lost Redis may have taken it along. A delayed task stays `scheduled` until a worker takes"
        " it, also when it is due. A task whose worker stopped before its end is `queued` again."
    )


# -- errors ------------------------------------------------------------------------------------


def errors() -> str:
    """The tree of exceptions, each with the first paragraph of what it means."""
    lines: list[str] = []

    def walk(cls: type[BaseException], depth: int) -> None:
        public = "" if cls.__name__ in cifra_jobs.__all__ else " *(in `cifra_jobs.errors`)*"
        others = [
            _code(base.__name__ if base.__module__ == "builtins" else _dotted(base))
            for base in cls.__bases__
            if not issubclass(base, error_module.CifraError) and base is not Exception
        ]
        kind = f", a {' and '.join(others)}" if others else ""
        text = " ".join((cls.__doc__ or "").split("Args:")[0].split("Attributes:")[0].split())
        text = text.replace("``", "`")
        lines.append(f"{'  ' * depth}- `{cls.__name__}`{kind}{public}: {text}")
        for child in cls.__subclasses__():
            if child.__module__ == error_module.__name__:
                walk(child, depth + 1)

    walk(error_module.CifraError, 0)
    return "\n".join(lines)


def _dotted(cls: type) -> str:
    return f"dramatiq.{cls.__name__}" if cls.__module__.startswith("dramatiq") else cls.__name__
