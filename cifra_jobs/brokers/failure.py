"""Why, where and when a message died: a record that travels in the headers of its dead letter."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cifra_jobs.brokers.base import Headers

__all__ = ["MAX_TRACEBACK_BYTES", "FailureRecord"]

#: Of a longer traceback the beginning and the end are kept.
MAX_TRACEBACK_BYTES = 8 * 1024

#: Of any other text.
_MAX_TEXT_BYTES = 2 * 1024

_PREFIX = "cifra-failure-"
_CUT = "\n… cut …\n"


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """What is known of a failure.

    Attributes:
        task: name of the task, empty where the message could not be read.
        id: id of the task, empty where unknown.
        queue: short name of the queue that it was delivered from.
        reason: one word or sentence: why it is dead.
        exception_type: module and name of the exception's class, where there was one.
        message: what the exception said.
        traceback: as text; at most 8 KB travel.
        attempts: runs that were begun.
        first_ms: start of the first run, milliseconds since the epoch; 0 where unknown.
        last_ms: when it died, milliseconds since the epoch.
        worker: name of the worker that gave up.
        versions: product to version, as the worker ran them.
        hidden: places of the arguments that views mask, joined by commas; see
            ``jobs/privacy.py``.
    """

    task: str = ""
    id: str = ""
    queue: str = ""
    reason: str = ""
    exception_type: str = ""
    message: str = ""
    traceback: str = ""
    attempts: int = 0
    first_ms: int = 0
    last_ms: int = 0
    worker: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    hidden: str = ""

    def to_headers(self) -> Headers:
        """Strings and integers under ``cifra-failure-…``; empty fields are left out."""
        headers: Headers = {}
        for name, value in ((each.name, getattr(self, each.name)) for each in fields(self)):
            if name == "versions":
                text = " ".join(f"{product}/{version}" for product, version in value.items())
            elif isinstance(value, int):
                if value:
                    headers[_header(name)] = value
                continue
            else:
                text = str(value)
            limit = MAX_TRACEBACK_BYTES if name == "traceback" else _MAX_TEXT_BYTES
            if text:
                headers[_header(name)] = _shorten(text, limit)
        return headers

    @classmethod
    def from_headers(cls, headers: Mapping[str, Any]) -> FailureRecord | None:
        """The record in these headers, or what the broker's own dead-lettering tells, or ``None``.

        Never raises: fields of an unexpected type are left out.
        """
        known: dict[str, Any] = {}
        for each in fields(cls):
            value = headers.get(_header(each.name))
            if each.name == "versions":
                if isinstance(value, str):
                    known["versions"] = _versions(value)
            elif type(value) is (int if each.type == "int" else str):
                known[each.name] = value
        return cls(**known) if known else _from_broker(headers)

    @staticmethod
    def strip(headers: Mapping[str, Any]) -> Headers:
        """The headers without any record of failure, to send the message again."""
        return {key: value for key, value in headers.items() if not key.startswith(_PREFIX)}


def _header(name: str) -> str:
    return _PREFIX + name.replace("_", "-")


def _versions(text: str) -> dict[str, str]:
    pairs = (word.partition("/") for word in text.split())
    return {product: version for product, _, version in pairs}


def _from_broker(headers: Mapping[str, Any]) -> FailureRecord | None:
    # Newest first; the hops through the delays are entries too, with reason "expired".
    deaths = headers.get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return None
    death = deaths[0]
    count, when = death.get("count"), death.get("time")
    return FailureRecord(
        queue=str(death.get("queue", "")),
        reason=f"broker: {death.get('reason', 'unknown')}",
        attempts=count if isinstance(count, int) else 0,
        last_ms=when * 1000 if isinstance(when, int) else 0,
    )


def _shorten(text: str, limit: int) -> str:
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= limit:
        return data.decode()
    room = limit - len(_CUT.encode())
    head = room // 4
    parts = data[:head].decode(errors="ignore"), data[head - room :].decode(errors="ignore")
    return _CUT.join(parts)
