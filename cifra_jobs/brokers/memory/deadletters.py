"""The dead of one memory queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifra_jobs.brokers.base import Publication
from cifra_jobs.brokers.deadletters import REPLAYED_HEADER, DeadLetter
from cifra_jobs.brokers.failure import FailureRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.brokers.memory.core import Core
    from cifra_jobs.brokers.memory.queues import Entry

__all__ = ["MemoryDeadLetters"]


class MemoryDeadLetters:
    """See `DeadLetterBox`.

    Raises:
        UnknownQueue: the queue does not exist; from every method.
    """

    def __init__(self, core: Core, queue: str) -> None:
        self._core = core
        self._queue = queue

    def browse(self, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters, up to ``limit``; all of them stay."""
        return [_letter(entry) for entry in self._entries()[:limit]]

    def requeue(self, message_id: str) -> bool:
        """Send one again to its queue, without the record of its failure; whether it was found."""
        return self.requeue_many(lambda letter: letter.message_id == message_id, limit=1) == 1

    def requeue_many(
        self, is_wanted: Callable[[DeadLetter], bool], *, limit: int | None = None
    ) -> int:
        """Send again those that are wanted, oldest first; returns how many."""
        return self._settle(is_wanted, limit, is_sent_again=True)

    def purge(self, message_id: str) -> bool:
        """Throw one away; whether it was found."""
        return self.purge_many(lambda letter: letter.message_id == message_id, limit=1) == 1

    def purge_many(
        self, is_wanted: Callable[[DeadLetter], bool], *, limit: int | None = None
    ) -> int:
        """Throw away those that are wanted; returns how many."""
        return self._settle(is_wanted, limit, is_sent_again=False)

    def _entries(self) -> list[Entry]:
        with self._core.connected():
            return list(self._core.queue(self._queue).dead)

    def _settle(
        self, is_wanted: Callable[[DeadLetter], bool], limit: int | None, *, is_sent_again: bool
    ) -> int:
        # The caller's own function is not called with the lock held.
        wanted = [entry for entry in self._entries() if is_wanted(_letter(entry))][:limit]
        count = 0
        with self._core.connected():
            dead = self._core.queue(self._queue).dead
            for entry in wanted:
                if entry in dead:
                    dead.remove(entry)
                    count += 1
                    if is_sent_again:
                        self._core.accept(_revived(entry.publication))
        return count


def _letter(entry: Entry) -> DeadLetter:
    publication = entry.publication
    headers = dict(publication.headers)
    return DeadLetter(
        message_id=publication.message_id,
        body=publication.body,
        headers=headers,
        failure=FailureRecord.from_headers(headers),
        priority=publication.priority,
        content_encoding=publication.content_encoding,
        type_name=publication.type_name,
    )


def _revived(dead: Publication) -> Publication:
    headers = FailureRecord.strip(dead.headers)
    headers[REPLAYED_HEADER] = int(headers.get(REPLAYED_HEADER, 0)) + 1
    return Publication(
        queue=dead.queue,
        body=dead.body,
        message_id=dead.message_id,
        priority=dead.priority,
        headers=headers,
        content_encoding=dead.content_encoding,
        type_name=dead.type_name,
    )
