"""A publication as frames: which exchange, which key, which priority, which properties."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

from cifra_jobs.brokers.rabbitmq import delays
from cifra_jobs.brokers.rabbitmq.properties import encode_properties
from cifra_jobs.brokers.rabbitmq.topology import map_priority
from cifra_jobs.brokers.rabbitmq.wire import publish_frames, publish_method
from cifra_jobs.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cifra_jobs.brokers.base import Publication
    from cifra_jobs.brokers.rabbitmq.declaring import Declarer

__all__ = ["Envelope", "parse_version"]


def parse_version(server: Mapping[str, Any]) -> tuple[int, int]:
    """Major and minor version of a broker, from what it says of itself; 3.10 where it is silent."""
    found = re.match(r"(\d+)\.(\d+)", str(server.get("version", "")))
    return (int(found[1]), int(found[2])) if found else (3, 10)


class Envelope:
    """Writes publications for one channel.

    Args:
        declarer: knows the names and what was chosen for each queue.
    """

    def __init__(self, declarer: Declarer) -> None:
        self._declarer = declarer
        self._version = (3, 10)
        self._channel = 1
        self._frame_max = 4096
        #: First frame and priorities for each queue: the same for all of its messages.
        self._cache: dict[tuple[str, bool], tuple[bytes, list[int]]] = {}

    def use(self, channel: int, frame_max: int, version: tuple[int, int]) -> None:
        """Write for this channel from now on."""
        self._channel, self._frame_max, self._version = channel, frame_max, version
        self._cache.clear()

    def frames(self, publication: Publication, now_s: int) -> bytes:
        """The whole publish.

        Raises:
            BrokerError: the publication cannot travel; the message says why.
        """
        queue = publication.queue
        try:
            method, priorities = self._cache.get((queue, publication.is_dead)) or self._remember(
                queue, is_dead=publication.is_dead
            )
            if publication.delay_ms > 0 and not publication.is_dead:
                level, key = delays.route(
                    queue, publication.delay_ms, is_roundable=publication.is_roundable
                )
                method = publish_method(self._channel, self._declarer.names.delay(level), key)
            properties = encode_properties(
                message_id=publication.message_id,
                priority=priorities[publication.priority],
                timestamp_s=now_s,
                headers=publication.headers,
                content_encoding=publication.content_encoding,
                type_name=publication.type_name,
            )
        except (ValueError, IndexError, TypeError, AttributeError, struct.error) as error:
            raise BrokerError(
                f"message {publication.message_id!r} for queue {queue!r} cannot be sent: {error}"
            ) from error
        return publish_frames(method, self._channel, properties, publication.body, self._frame_max)

    def address(self, publication: Publication) -> tuple[str, str]:
        """Exchange and routing key of a publication that was written before."""
        names = self._declarer.names
        if publication.is_dead:
            return names.dlx, publication.queue
        if publication.delay_ms > 0:
            level, key = delays.route(
                publication.queue, publication.delay_ms, is_roundable=publication.is_roundable
            )
            return names.delay(level), key
        return names.task, publication.queue

    def _remember(self, queue: str, *, is_dead: bool) -> tuple[bytes, list[int]]:
        names = self._declarer.names
        spec = self._declarer.spec(queue)
        entry = (
            publish_method(self._channel, names.dlx if is_dead else names.task, queue),
            [map_priority(priority, spec, self._version) for priority in range(10)],
        )
        self._cache[queue, is_dead] = entry
        return entry
