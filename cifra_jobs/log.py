"""Log lines: key-value for people on a terminal, JSON elsewhere; one place that sets them up.

House key names: ``task_id``, ``task``, ``queue``, ``attempt``, ``worker``. Library code logs
through `get_logger`, which ends in the standard library's logging: an application that embeds us
sees our lines where its own go, and `configure_logging` is for processes that are ours.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter

from cifra_jobs.config.addresses import mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

    from cifra_jobs.config.sections import LoggingSettings

__all__ = ["bind", "bound", "configure_logging", "get_logger", "unbind"]

#: Facts whose value is a secret whatever it looks like.
_SECRET_KEYS = frozenset(
    {"api_key", "authorization", "cookie", "passwd", "password", "secret", "token"}
)
#: Loggers of libraries that are too talkative for a worker's log below this level.
_QUIET = {
    "asyncio": logging.WARNING,
    "pika": logging.WARNING,
    # A refused connection is seven errors of pika's, and one line of ours.
    "pika.adapters": logging.CRITICAL,
    # Asking whether a queue exists closes a channel where it does not.
    "pika.channel": logging.ERROR,
    "uvicorn": logging.WARNING,
}


class _Line(dict[str, Any]):
    """The facts of a log line; as text, where somebody else's handler renders it."""

    def __str__(self) -> str:
        pairs = " ".join(f"{key}={value!r}" for key, value in self.items() if key != "event")
        return f"{self.get('event', '')} {pairs}".rstrip()


class Logger(structlog.stdlib.BoundLogger):
    """A structlog logger that makes no event of what nobody wants to read."""

    def _proxy_to_logger(
        self, method_name: str, event: str | None = None, *event_args: str, **event_kw: Any
    ) -> Any:
        level = structlog.processors.NAME_TO_LEVEL.get(method_name, logging.ERROR)
        if not self._logger.isEnabledFor(level):
            return None
        return super()._proxy_to_logger(method_name, event, *event_args, **event_kw)


def _mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        event[key] = "***" if key in _SECRET_KEYS and value is not None else mask(value)
    return event


def _as_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return _Line(event)


#: What every line gets, ours or a library's.
_FACTS: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
]
_OURS: list[Processor] = [
    *_FACTS,
    structlog.stdlib.PositionalArgumentsFormatter(),
    _mask_secrets,
    _as_line,
    ProcessorFormatter.wrap_for_formatter,
]


def get_logger(name: str) -> Logger:
    """The logger of a module: ``log.info("what happened", queue="mail", count=3)``."""
    return cast(
        "Logger",
        structlog.wrap_logger(
            logging.getLogger(name),
            processors=_OURS,
            wrapper_class=Logger,
            cache_logger_on_first_use=True,
        ),
    )


def bind(**facts: Any) -> None:
    """Put facts on every line logged from here on in this context (a thread, a coroutine)."""
    structlog.contextvars.bind_contextvars(**facts)


def unbind(*names: str) -> None:
    """Take facts off again; those not bound are none the worse."""
    structlog.contextvars.unbind_contextvars(*names)


@contextlib.contextmanager
def bound(**facts: Any) -> Iterator[None]:
    """Put facts on every line logged inside the ``with``."""
    with structlog.contextvars.bound_contextvars(**facts):
        yield


def configure_logging(settings: LoggingSettings, stream: TextIO | None = None) -> None:
    """Send the log of this process, libraries included, to one place in one form.

    Calling it again replaces what the last call set up; handlers of others stay.

    Args:
        settings: level and form.
        stream: where to; standard error by default, so that results alone go to standard output.
    """
    stream = stream if stream is not None else sys.stderr
    is_terminal = stream.isatty()
    is_json = settings.format == "json" or (settings.format == "auto" and not is_terminal)
    handler = _Handler(stream)
    handler.setFormatter(_formatter(is_json=is_json, is_colored=is_terminal))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, root.level))
    # For task code that asks structlog itself for a logger.
    structlog.configure(
        processors=_OURS,
        wrapper_class=Logger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, to be found again by the next set-up."""


def _formatter(*, is_json: bool, is_colored: bool) -> logging.Formatter:
    ending: list[Processor]
    if is_json:
        ending = [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _mask_secrets,
            structlog.processors.JSONRenderer(_to_json),
        ]
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=is_colored,
            exception_formatter=_traceback,
            pad_event_to=0,
            pad_level=False,
            sort_keys=False,
        )
        ending = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            _for_people,
            renderer,
        ]
    return ProcessorFormatter(
        processors=[ProcessorFormatter.remove_processors_meta, *ending],
        foreign_pre_chain=[*_FACTS, structlog.stdlib.ExtraAdder(), _mask_secrets],
    )


def _for_people(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Fit a line into a terminal: the change of a state is the news, our modules are not."""
    if event.get("level") == "info":
        del event["level"]
    if str(event.get("logger", "")).startswith("cifra"):
        del event["logger"]
    if event.get("event") == "task state" and {"task", "from", "to"} <= event.keys():
        event["event"] = f"{event.pop('task')} {event.pop('from')} → {event.pop('to')}"
        if event.get("attempt") == 1:
            del event["attempt"]
        if event.get("reason") == "failed":
            del event["reason"]
    # Ids are long: what differs comes before them.
    if "task_id" in event:
        event["task_id"] = event.pop("task_id")
    return event


def _traceback(stream: TextIO, info: ExcInfo) -> None:
    # Not rich's: it shows local variables, secrets among them.
    text = io.StringIO()
    structlog.dev.plain_traceback(text, info)
    stream.write(mask(text.getvalue()))


def _to_json(event: EventDict, **_: Any) -> str:
    first = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return orjson.dumps({**first, **event}, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
