"""What comes from the socket, cut into frames: deliveries and confirms without pika's objects."""

from __future__ import annotations

import struct
from typing import Protocol

from cifra_jobs.brokers.rabbitmq.wire import (
    ACK,
    BODY,
    CONTENT_HEADER,
    END,
    FRAME,
    METHOD,
    NACK,
    OVERHEAD,
    U32,
)

__all__ = ["FrameScanner", "Sink"]

_SETTLED = struct.Struct(">QB")
_BODY_SIZE = struct.Struct(">4xQ")

_DELIVER = 0x003C003C


class Sink(Protocol):
    """Who is told of what was read."""

    def on_deliver(
        self, channel: int, tag: int, properties: bytes, body: bytes, *, is_redelivered: bool
    ) -> None:
        """A message for a consumer."""

    def on_confirm(self, channel: int, tag: int, *, is_multiple: bool, is_ack: bool) -> None:
        """The broker settled publishes."""

    def on_frame(self, frame: bytes) -> None:
        """Anything else: one whole frame."""


class _Partial:
    """A delivery whose frames did not come in one piece."""

    __slots__ = ("chunks", "is_redelivered", "missing", "properties", "tag")

    def __init__(self, tag: int, *, is_redelivered: bool) -> None:
        self.tag = tag
        self.is_redelivered = is_redelivered
        self.properties = b""
        self.missing = -1
        self.chunks: list[bytes] = []


class FrameScanner:
    """Cuts what is read from the socket into frames."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._rest = b""
        self._partial: dict[int, _Partial] = {}

    def feed(self, data: bytes) -> None:
        """Read on; calls the sink for everything that is complete.

        Raises:
            ValueError: the peer does not speak AMQP any more.
        """
        if self._rest:
            data = self._rest + data
        pos, size = 0, len(data)
        unpack = FRAME.unpack_from
        while size - pos >= OVERHEAD:
            kind, channel, length = unpack(data, pos)
            end = pos + length + OVERHEAD
            if end > size:
                break
            if data[end - 1] != END:
                self._rest = b""
                raise ValueError("a frame from the broker does not end where it should")
            if kind == METHOD:
                method = U32.unpack_from(data, pos + 7)[0]
                if method == _DELIVER:
                    end = self._deliver(data, pos + 11, end, size, channel)
                elif method in (ACK, NACK):
                    tag, bits = _SETTLED.unpack_from(data, pos + 11)
                    self._sink.on_confirm(
                        channel, tag, is_multiple=bool(bits & 1), is_ack=method == ACK
                    )
                else:
                    self._sink.on_frame(data[pos:end])
            elif channel in self._partial and kind in (CONTENT_HEADER, BODY):
                self._continue(channel, kind, data[pos + 7 : end - 1])
            else:
                self._sink.on_frame(data[pos:end])
            pos = end
        self._rest = data[pos:]

    def forget(self, channel: int) -> None:
        """The channel has closed: the rest of its last message will not come."""
        self._partial.pop(channel, None)

    def _deliver(self, data: bytes, pos: int, end: int, size: int, channel: int) -> int:
        pos += 1 + data[pos]
        tag, redelivered = _SETTLED.unpack_from(data, pos)
        if size - end >= 2 * OVERHEAD + 14:
            kind, number, length = FRAME.unpack_from(data, end)
            start: int = end + length + OVERHEAD
            if kind == CONTENT_HEADER and number == channel and start + OVERHEAD <= size:
                body_size = _BODY_SIZE.unpack_from(data, end + 7)[0]
                kind, number, piece = FRAME.unpack_from(data, start)
                stop: int = start + piece + OVERHEAD
                if (kind, number, piece) == (BODY, channel, body_size) and stop <= size:
                    self._sink.on_deliver(
                        channel,
                        tag,
                        data[end + 19 : start - 1],
                        data[start + 7 : stop - 1],
                        is_redelivered=redelivered != 0,
                    )
                    return stop
        self._partial[channel] = _Partial(tag, is_redelivered=redelivered != 0)
        return end

    def _continue(self, channel: int, kind: int, payload: bytes) -> None:
        partial = self._partial[channel]
        if kind == CONTENT_HEADER:
            partial.missing = _BODY_SIZE.unpack_from(payload)[0]
            partial.properties = payload[12:]
        else:
            partial.missing -= len(payload)
            partial.chunks.append(payload)
        if partial.missing == 0:
            del self._partial[channel]
            self._sink.on_deliver(
                channel,
                partial.tag,
                partial.properties,
                b"".join(partial.chunks),
                is_redelivered=partial.is_redelivered,
            )
