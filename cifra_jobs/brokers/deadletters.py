"""The dead of one queue, as every transport shows them: look, send again, throw away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import orjson

from cifra_jobs.codec import decompress
from cifra_jobs.errors import DecodeError
from cifra_jobs.jobs.privacy import masked

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.brokers.base import Headers
    from cifra_jobs.brokers.failure import FailureRecord

__all__ = ["REPLAYED_HEADER", "DeadLetter", "DeadLetterBox"]

#: How often a message was sent again from the dead.
REPLAYED_HEADER = "x-replayed"
#: A body that unfolds to more is not shown.
_SHOWN_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One kept failure.

    Attributes:
        message_id: id of the message, which is the id of its task.
        body: untouched.
        headers: all of them, the record of the failure included.
        failure: that record; the broker's own words where we wrote none; ``None`` without either.
    """

    message_id: str | None
    body: bytes
    headers: Headers
    failure: FailureRecord | None
    priority: int
    content_encoding: str | None
    type_name: str | None

    def preview(self, limit: int = 200) -> str:
        """The beginning of the body as text, for people; sensitive arguments are masked."""
        try:
            body = self._masked_body()
        except (DecodeError, ValueError, TypeError, KeyError):
            # What cannot be read cannot be masked either.
            body = b"(hidden)" if self._hidden() else self.body
        text = body[: 4 * limit].decode(errors="replace")
        return text if len(text) <= limit else f"{text[:limit]}…"

    def _hidden(self) -> list[str]:
        hidden = self.failure.hidden if self.failure is not None else ""
        return hidden.split(",") if hidden else []

    def _masked_body(self) -> bytes:
        body = self.body
        if self.content_encoding:
            body = decompress(body, self.content_encoding, _SHOWN_BYTES)
        hidden = self._hidden()
        if not hidden:
            return body
        fields = orjson.loads(body)
        fields["args"], fields["kwargs"] = masked(fields["args"], fields["kwargs"], hidden)
        return orjson.dumps(fields)


class DeadLetterBox(Protocol):
    """What a transport's ``dead_letters(queue)`` gives. Every method may raise `BrokerError`."""

    def browse(self, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters, up to ``limit``; all of them stay."""
        ...

    def requeue(self, message_id: str) -> bool:
        """Send one again to its queue, without the record of its failure; whether it was found."""
        ...

    def requeue_many(
        self, is_wanted: Callable[[DeadLetter], bool], *, limit: int | None = None
    ) -> int:
        """Send again those that are wanted, oldest first; returns how many."""
        ...

    def purge(self, message_id: str) -> bool:
        """Throw one away; whether it was found."""
        ...

    def purge_many(
        self, is_wanted: Callable[[DeadLetter], bool], *, limit: int | None = None
    ) -> int:
        """Throw away those that are wanted; returns how many."""
        ...
