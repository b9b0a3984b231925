"""Every task option once: name, Dramatiq's name, meaning, default; and what a run makes of them.

Options in seconds take numbers or ``timedelta``; Dramatiq's own names keep Dramatiq's
milliseconds. Look-up: message > route > decorator > ``task_defaults`` > settings.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cifra_jobs.errors import ConfigError, NotYetBuilt, OptionError
from cifra_jobs.names import QUEUE_NAME_RULE, is_queue_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cifra_jobs.config import Settings

__all__ = [
    "CALL_KEYWORDS",
    "OPTIONS",
    "Option",
    "RunOptions",
    "check_settings",
    "normalize",
    "run_options",
]


@dataclass(frozen=True, slots=True)
class Option:
    """One task option.

    Attributes:
        name: the canonical name, as kept in options and on the wire.
        doc: its meaning, for the reference page.
        check: turns a user's value into the kept one; raises ``ValueError`` with what is allowed.
        aliases: other spellings → how their value becomes the canonical one.
        per_call: whether a single call may set it.
    """

    name: str
    doc: str
    check: Callable[[Any], Any]
    aliases: Mapping[str, Callable[[Any], Any]]
    per_call: bool = True


#: Seconds; beyond it dates have no calendar.
MAX_SECONDS = 1e11
#: As RabbitMQ carries it.
_TOP_PRIORITY = 9
#: Bytes; as AMQP's property ``type`` carries it.
_LONGEST_NAME = 255


def _seconds(value: Any) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds < MAX_SECONDS:
        raise ValueError("a number of seconds, 0 or more, or a timedelta")
    return float(seconds)


def _positive_seconds(value: Any) -> float:
    seconds = _seconds(value)
    if seconds == 0:
        raise ValueError("a number of seconds above 0, or a timedelta")
    return seconds


def _from_ms(value: Any) -> Any:
    return value if isinstance(value, timedelta) or value is None else value / 1000


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("True or False")  # noqa: TRY004 - one kind of error for a bad value
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a whole number, 0 or more")
    return value


def _priority(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _TOP_PRIORITY:
        raise ValueError("a whole number from 0 to 9, 9 is served first")
    return value


def _name(value: Any) -> str:
    is_fit = isinstance(value, str) and value.isprintable()
    if not is_fit or not 0 < len(value.encode()) <= _LONGEST_NAME:
        raise ValueError(f"1 to {_LONGEST_NAME} bytes of printable text")
    return str(value)


def _expires(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    try:
        return _seconds(value)
    except ValueError as error:
        raise ValueError(f"{error}, or a datetime") from None


def _queue(value: Any) -> str:
    if not is_queue_name(value):
        raise ValueError(QUEUE_NAME_RULE)
    return str(value)


def _exceptions(value: Any) -> tuple[type[BaseException], ...]:
    classes = tuple(value) if isinstance(value, tuple | list | set | frozenset) else (value,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise ValueError("an exception class or a tuple of them")  # noqa: TRY004 - as above
    return classes


def _acks(value: Any) -> str:
    if value not in ("late", "early"):
        raise ValueError("'late' (after the run) or 'early' (before it, at most once)")
    return str(value)


def _callbacks(value: Any) -> list[str]:
    items = value if isinstance(value, list | tuple) else [value]
    names: list[Any] = [getattr(item, "actor_name", item) for item in items]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a task, its name, or a list of them")
    return names


def _names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("names of arguments")
    return names


def _callable(value: Any) -> Any:
    if not callable(value):
        raise ValueError("a function")  # noqa: TRY004 - one kind of error for a bad value
    return value


def _same(value: Any) -> Any:
    return value


def _option(
    name: str, doc: str, check: Callable[[Any], Any], *, per_call: bool = True, **aliases: Any
) -> Option:
    return Option(name, doc, check, aliases, per_call)


#: Every option of this release, by canonical name.
OPTIONS: dict[str, Option] = {
    option.name: option
    for option in (
        _option("name", "unique name", _name, per_call=False, actor_name=_same),
        _option("queue", "queue", _queue, queue_name=_same),
        _option("priority", "0..9, 9 is served first", _priority, broker_priority=_same),
        _option(
            "retry", "retries after the first run; None: without end", _count, max_retries=_same
        ),
        _option("retry_delay", "s; delay of the first retry", _seconds, min_backoff=_from_ms),
        _option("retry_backoff", "double the delay at each retry", _boolean),
        _option("retry_backoff_max", "s; longest delay", _seconds, max_backoff=_from_ms),
        _option("retry_jitter", "full jitter", _boolean),
        _option("retry_for", "exception classes that retry", _exceptions, per_call=False),
        _option(
            "no_retry_for",
            "exception classes that do not",
            _exceptions,
            per_call=False,
            throws=_same,
        ),
        _option("retry_when", "(retries, exception) -> bool", _callable, per_call=False),
        _option("timeout", "s; hard limit of one run", _positive_seconds, time_limit=_from_ms),
        _option("soft_timeout", "s; SoftTimeout inside the task", _positive_seconds),
        _option(
            "store_result",
            "keep the return value",
            _boolean,
            store_results=_same,
            ignore_result=lambda value: not _boolean(value),
        ),
        _option("result_expires", "s; how long it is kept", _positive_seconds, result_ttl=_from_ms),
        _option(
            "expires",
            "s or datetime; drop a run that would start later",
            _expires,
            max_age=_from_ms,
        ),
        _option("on_success", "task(s) sent after success", _callbacks),
        _option("on_failure", "task(s) sent after the final failure", _callbacks),
        _option("on_retry_exhausted", "task(s) sent when the budget is used up", _callbacks),
        _option("acks", "'late' or 'early'", _acks),
        _option(
            "notify_shutdown",
            "interrupt the task's thread when its worker begins to stop",
            _boolean,
            per_call=False,
        ),
        _option("bind", "pass the current task first", _boolean, per_call=False),
        _option("sensitive", "arguments masked in logs and views", _names, per_call=False),
    )
}

#: Keywords of `Task.apply_async` that are not task options.
CALL_KEYWORDS = frozenset({"countdown", "eta", "task_id", "headers", "link", "link_error"})

#: Documented options that come with later work: refused, never ignored.
LATER: dict[str, str] = {
    "max_concurrency": "concurrency limits",
    "concurrency_key": "concurrency limits",
    "unique": "unique tasks",
    "idempotency_key": "idempotency keys",
    "fair_key": "tenant fairness",
    "batch": "batch tasks",
    "batch_timeout": "batch tasks",
    "rate_limit": "rate limits",
    "periodic": "schedules",
    "cron": "schedules",
    "every": "schedules",
}

_ALIASES: dict[str, tuple[Option, Callable[[Any], Any]]] = {
    **{name: (option, _same) for name, option in OPTIONS.items()},
    **{
        alias: (option, convert)
        for option in OPTIONS.values()
        for alias, convert in option.aliases.items()
    },
}


def normalize(
    options: Mapping[str, Any],
    *,
    owner: str,
    per_call: bool = False,
    extra: Iterable[str] = (),
    keywords: Iterable[str] = (),
) -> dict[str, Any]:
    """Canonical names and checked values of a user's options.

    Args:
        options: as the user wrote them, any spelling.
        owner: whom an error names, such as ``task 'send_email'``.
        per_call: whether these come with a call; some options belong to the declaration only.
        extra: names that Dramatiq middleware of the broker knows; kept as they are.
        keywords: what else may be said in that place: a misspelled one is told the nearest.

    Raises:
        OptionError: an unknown name (the nearest valid one is named), a bad value, or one option
            in two spellings.
        NotYetBuilt: an option of a later release.
    """
    kept: dict[str, Any] = {}
    passed_on = set(extra) - _ALIASES.keys()
    for name, value in options.items():
        if name in passed_on:
            kept[name] = value
            continue
        option, convert = _look_up(name, owner, [*passed_on, *keywords])
        if per_call and not option.per_call:
            raise OptionError(f"{owner}: {name!r} belongs to the declaration, not to a call")
        if option.name in kept:
            raise OptionError(f"{owner}: {name!r} and {option.name!r} are the same option")
        if value is None:
            if option.name == "retry":
                # Dramatiq's word for "as often as it takes"; elsewhere None means "not said".
                kept["retry"] = None
            continue
        try:
            kept[option.name] = option.check(convert(value))
        except (ValueError, TypeError) as error:
            raise OptionError(f"{owner}: {name}={value!r} must be {error}") from None
    return kept


def check_settings(settings: Settings) -> None:
    """Refuse task options in the settings that no task could take.

    Raises:
        ConfigError: an unknown name or a bad value, with its path and the nearest name.
        NotYetBuilt: an option of a later release.
    """
    places = {f"task_routes.{name}": route for name, route in settings.task_routes.items()}
    for path, options in {"task_defaults": settings.task_defaults, **places}.items():
        try:
            normalize(options, owner=path, per_call=path != "task_defaults")
        except OptionError as error:
            raise ConfigError(str(error)) from None


def _look_up(name: str, owner: str, extra: Iterable[str]) -> tuple[Option, Callable[[Any], Any]]:
    found = _ALIASES.get(name)
    if found is not None:
        return found
    if name in LATER:
        raise NotYetBuilt(
            f"{owner}: {name!r} needs {LATER[name]}, which this release does not have"
        )
    near = difflib.get_close_matches(name, [*_ALIASES, *extra], n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(OPTIONS)}"
    raise OptionError(f"{owner}: unknown option {name!r}; {hint}")


@dataclass(slots=True)
class RunOptions:
    """What holds for one run, after look-up. Durations in milliseconds unless named otherwise."""

    priority: int = 5
    max_retries: int | None = 3
    retry_delay_ms: float = 60_000
    has_backoff: bool = True
    retry_backoff_max_ms: float = 600_000
    has_jitter: bool = False
    retry_for: tuple[type[BaseException], ...] = ()
    no_retry_for: tuple[type[BaseException], ...] = ()
    retry_when: Callable[[int, BaseException], bool] | None = None
    timeout_s: float | None = None
    soft_timeout_s: float | None = None
    store_result: bool = True
    result_ttl_ms: int = 3_600_000
    #: Kept as given (seconds, timedelta or a moment); made absolute when a message is built.
    expires: Any = None
    on_success: tuple[str, ...] = ()
    on_failure: tuple[str, ...] = ()
    on_retry_exhausted: tuple[str, ...] = ()
    is_early_ack: bool = False
    sensitive: tuple[str, ...] = ()


def run_options(canonical: Mapping[str, Any]) -> RunOptions:
    """`RunOptions` of canonical options; what they do not name keeps the defaults above."""
    get = canonical.get
    base = RunOptions()
    return RunOptions(
        priority=get("priority", base.priority),
        max_retries=get("retry", base.max_retries),
        retry_delay_ms=get("retry_delay", 60) * 1000,
        has_backoff=get("retry_backoff", True),
        retry_backoff_max_ms=get("retry_backoff_max", 600) * 1000,
        has_jitter=get("retry_jitter", False),
        retry_for=get("retry_for", ()),
        no_retry_for=get("no_retry_for", ()),
        retry_when=get("retry_when"),
        timeout_s=get("timeout"),
        soft_timeout_s=get("soft_timeout"),
        store_result=get("store_result", True),
        result_ttl_ms=int(get("result_expires", 3600) * 1000),
        expires=get("expires"),
        on_success=tuple(get("on_success", ())),
        on_failure=tuple(get("on_failure", ())),
        on_retry_exhausted=tuple(get("on_retry_exhausted", ())),
        is_early_ack=get("acks") == "early",
        sensitive=get("sensitive", ()),
    )
