"""An exception as data, and back as its real class where that can be done.

Stored as JSON: ``type`` (``module:QualName``), ``message``, ``args`` (packed, when they fit),
``traceback`` (text, bounded), ``task``, ``cause`` (the same shape, without traceback).
"""

from __future__ import annotations

import importlib
import sys
import traceback as tracebacks
from typing import Any

from cifra_jobs import codec
from cifra_jobs.errors import DecodeError, EncodeError, RemoteError

__all__ = [
    "MAX_MESSAGE",
    "MAX_TRACEBACK",
    "describe",
    "format_traceback",
    "rebuild",
    "text_of",
]

#: Characters; enough for any frame list a person reads, small enough for a message header.
MAX_TRACEBACK = 8_000
MAX_MESSAGE = 2_000
_MAX_ARGS_BYTES = 8_192
_MAX_CAUSES = 5


def format_traceback(error: BaseException) -> str:
    """The traceback as text; the middle is cut out when it is over `MAX_TRACEBACK` characters."""
    try:
        text = "".join(tracebacks.TracebackException.from_exception(error, limit=-60).format())
    except Exception as problem:  # noqa: BLE001 - __str__ of a user's exception may do anything
        text = f"{type(error).__qualname__} (its traceback cannot be formatted: {problem!r})"
    return _shortened(text, MAX_TRACEBACK)


def describe(error: BaseException, *, task: str = "", traceback: str = "") -> dict[str, Any]:
    """The exception as a dict of JSON values."""
    described = _describe_one(error)
    described["task"] = task
    described["traceback"] = traceback or format_traceback(error)
    level, cause = described, error.__cause__ or error.__context__
    for _ in range(_MAX_CAUSES):
        if cause is None:
            break
        level["cause"] = _describe_one(cause)
        level, cause = level["cause"], cause.__cause__ or cause.__context__
    return described


def rebuild(described: dict[str, Any], *, task_id: str | None = None) -> BaseException:
    """The exception again: its own class where it is importable and takes its arguments.

    Anything else, and whatever is not an ``Exception`` (an exit must not end the reader's process),
    becomes a `RemoteError` that carries type, message and traceback.
    """
    error = _rebuild_one(described)
    remote = described.get("traceback") or ""
    if remote:
        error.add_note(
            f"In task {described.get('task') or '?'} ({task_id}), on the worker:\n{remote}"
        )
    if task_id is not None and hasattr(error, "__dict__"):
        error.task_id = task_id  # type: ignore[attr-defined]
    cause = described.get("cause")
    if cause:
        error.__cause__ = rebuild(cause)
    return error


def _describe_one(error: BaseException) -> dict[str, Any]:
    cls = type(error)
    described: dict[str, Any] = {
        "type": f"{cls.__module__}:{cls.__qualname__}",
        "message": _shortened(text_of(error), MAX_MESSAGE),
    }
    try:
        args = codec.pack(list(error.args))
        if len(codec.dumps(args)) <= _MAX_ARGS_BYTES:
            described["args"] = args
    except EncodeError:
        # Arguments that cannot travel: the reader gets a RemoteError with the text.
        described["args"] = None
    return described


def text_of(error: BaseException) -> str:
    """What the exception says, whatever its ``__str__`` does."""
    try:
        return str(error).encode("utf-8", "replace").decode()
    except Exception as problem:  # noqa: BLE001 - __str__ of a user's exception may do anything
        return f"(no text: {type(problem).__name__} in __str__)"


def _rebuild_one(described: dict[str, Any]) -> BaseException:
    type_name = str(described.get("type", "?"))
    message = str(described.get("message", ""))
    stand_in = RemoteError(type_name.replace(":", "."), message, described.get("traceback") or "")
    cls = _class_at(type_name)
    if cls is None or described.get("args") is None:
        return stand_in
    try:
        error = cls(*codec.unpack(described["args"]))
        is_same = (
            text_of(error)[:MAX_MESSAGE] == message[:MAX_MESSAGE] or len(message) >= MAX_MESSAGE
        )
    except Exception:  # noqa: BLE001 - a user's __init__ may refuse its own args in any way
        return stand_in
    return error if is_same else stand_in


def _class_at(type_name: str) -> type[Exception] | None:
    module_name, _, qualname = type_name.partition(":")
    try:
        target: Any = sys.modules.get(module_name) or importlib.import_module(module_name)
        for part in qualname.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError, ValueError, DecodeError):
        return None
    return target if isinstance(target, type) and issubclass(target, Exception) else None


def _shortened(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2 - 20
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
