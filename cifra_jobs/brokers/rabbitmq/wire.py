"""The few AMQP frames that are sent and read thousands of times a second, as bytes.

pika builds some ten objects and makes three socket calls for one publish, and as much for one
delivery. Here a publish is one `bytes`, a confirm is a call with three numbers, and a delivery is
decoded once. Everything else (and everything unusual) is left to pika.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "FrameScanner",
    "Properties",
    "Sink",
    "decode_properties",
    "encode_properties",
    "is_stripped",
    "publish_frames",
    "publish_method",
    "settle_frame",
]

_FRAME = struct.Struct(">BHI")
_HEADER = struct.Struct(">BHIHHQ")
_SETTLE = struct.Struct(">BHIIQBB")
_SETTLED = struct.Struct(">QB")
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_I64 = struct.Struct(">q")
_BODY_SIZE = struct.Struct(">4xQ")

_METHOD, _CONTENT_HEADER, _BODY = 1, 2, 3
_END = 0xCE
_OVERHEAD = 8

_PUBLISH = 0x003C0028
_DELIVER = 0x003C003C
_ACK = 0x003C0050
_NACK = 0x003C0078

_F_CONTENT_TYPE, _F_ENCODING, _F_HEADERS = 1 << 15, 1 << 14, 1 << 13
_F_DELIVERY_MODE, _F_PRIORITY = 1 << 12, 1 << 11
_F_MESSAGE_ID, _F_TIMESTAMP, _F_TYPE, _F_APP_ID = 1 << 7, 1 << 6, 1 << 5, 1 << 3
#: Short strings between priority and message id: correlation id, reply-to, expiration.
_F_SKIPPED = (1 << 10, 1 << 9, 1 << 8)
_F_ALWAYS = (
    _F_CONTENT_TYPE | _F_DELIVERY_MODE | _F_PRIORITY | _F_MESSAGE_ID | _F_TIMESTAMP | _F_APP_ID
)

_CONTENT_TYPE = b"\x10application/json"
_APP_ID = b"\x0acifra_jobs"
_PERSISTENT = 2

_SHORT_MAX = 255

#: content encoding, headers, priority (None if unset), message id
Properties = tuple[str | None, dict[str, Any], int | None, str | None]


# ── out ──────────────────────────────────────────────────────────────────────────────────────────


def is_stripped(header: str) -> bool:
    """Whether the broker wrote this header: republished, 3.10 takes the message for a cycle."""
    return header.startswith(("x-death", "x-first-death-", "x-last-death-"))


@lru_cache(maxsize=4096)
def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > _SHORT_MAX:
        raise ValueError(f"{text[:40]!r}… is longer than the 255 bytes that AMQP has for it")
    return bytes((len(data),)) + data


def _encode_headers(headers: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    for key, value in headers.items():
        if key[:2] == "x-" and is_stripped(key):
            continue
        kind = type(value)
        if kind is str:
            data = value.encode()
            parts += (_short(key), b"S", _U32.pack(len(data)), data)
        elif kind is int:
            parts += (_short(key), b"l", _I64.pack(value))
        elif kind is bool:
            parts += (_short(key), b"t\x01" if value else b"t\x00")
        else:
            raise ValueError(
                f"header {key!r} is a {kind.__name__}: only strings and integers can travel"
            )
    table = b"".join(parts)
    return _U32.pack(len(table)) + table


def encode_properties(
    *,
    message_id: str,
    priority: int,
    timestamp_s: int,
    headers: Mapping[str, Any],
    content_encoding: str | None,
    type_name: str | None,
) -> bytes:
    """Flags and values of a persistent message's properties.

    Raises:
        ValueError: a value cannot travel; the message names it.
        struct.error: a number is out of range.
    """
    flags = _F_ALWAYS
    encoding = table = kind = b""
    if content_encoding:
        flags |= _F_ENCODING
        encoding = _short(content_encoding)
    if headers:
        flags |= _F_HEADERS
        table = _encode_headers(headers)
    if type_name:
        flags |= _F_TYPE
        kind = _short(type_name)
    name = message_id.encode()
    if len(name) > _SHORT_MAX:
        raise ValueError(f"message id {message_id[:40]!r}… is longer than 255 bytes")
    return b"".join(
        (
            _U16.pack(flags),
            _CONTENT_TYPE,
            encoding,
            table,
            bytes((_PERSISTENT, priority, len(name))),
            name,
            _U64.pack(timestamp_s),
            kind,
            _APP_ID,
        )
    )


def publish_method(channel: int, exchange: str, routing_key: str) -> bytes:
    """The first frame of a mandatory publish; the same for all messages of one queue."""
    payload = b"".join(
        (_U32.pack(_PUBLISH), b"\0\0", _short(exchange), _short(routing_key), b"\x01")
    )
    return _FRAME.pack(_METHOD, channel, len(payload)) + payload + b"\xce"


def publish_frames(
    method: bytes, channel: int, properties: bytes, body: bytes, frame_max: int
) -> bytes:
    """A whole publish, ready for the socket."""
    size = len(body)
    room = frame_max - _OVERHEAD
    head = _HEADER.pack(_CONTENT_HEADER, channel, 12 + len(properties), 60, 0, size)
    if 0 < size <= room:
        return b"".join(
            (method, head, properties, b"\xce", _FRAME.pack(_BODY, channel, size), body, b"\xce")
        )
    parts = [method, head, properties, b"\xce"]
    for start in range(0, size, room):
        piece = body[start : start + room]
        parts += (_FRAME.pack(_BODY, channel, len(piece)), piece, b"\xce")
    return b"".join(parts)


def settle_frame(channel: int, tag: int, *, is_ack: bool, is_multiple: bool) -> bytes:
    """``basic.ack``, or ``basic.nack`` with requeue."""
    if is_ack:
        return _SETTLE.pack(_METHOD, channel, 13, _ACK, tag, is_multiple, _END)
    return _SETTLE.pack(_METHOD, channel, 13, _NACK, tag, 2 | is_multiple, _END)


# ── in ───────────────────────────────────────────────────────────────────────────────────────────


def decode_properties(data: bytes, pos: int = 0) -> Properties:
    """What a worker reads of a message's properties; text that is not UTF-8 is made so.

    Raises:
        ValueError: these are no properties.
    """
    try:
        return _decode_properties(data, pos)
    except (IndexError, RecursionError, struct.error) as error:
        raise ValueError(f"the properties end too early or make no sense: {error}") from error


def _decode_properties(data: bytes, pos: int) -> Properties:
    flags = data[pos] << 8 | data[pos + 1]
    pos += 2
    encoding = message_id = priority = None
    headers: dict[str, Any] = {}
    if flags & _F_CONTENT_TYPE:
        pos += 1 + data[pos]
    if flags & _F_ENCODING:
        encoding, pos = _read_short(data, pos)
    if flags & _F_HEADERS:
        end = pos + 4 + _U32.unpack_from(data, pos)[0]
        headers = _read_table(data, pos + 4, end)
        pos = end
    if flags & _F_DELIVERY_MODE:
        pos += 1
    if flags & _F_PRIORITY:
        priority = data[pos]
        pos += 1
    for flag in _F_SKIPPED:
        if flags & flag:
            pos += 1 + data[pos]
    if flags & _F_MESSAGE_ID:
        message_id, pos = _read_short(data, pos)
    return encoding, headers, priority, message_id


def _read_short(data: bytes, pos: int) -> tuple[str, int]:
    end = pos + 1 + data[pos]
    return data[pos + 1 : end].decode("utf-8", "replace"), end


def _read_table(data: bytes, pos: int, end: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    while pos < end:
        stop = pos + 1 + data[pos]
        key = data[pos + 1 : stop].decode("utf-8", "replace")
        if data[stop] == _LONG_STRING:
            start = stop + 5
            pos = start + _U32.unpack_from(data, stop + 1)[0]
            table[key] = data[start:pos].decode("utf-8", "replace")
        else:
            table[key], pos = _read_value(data, stop)
    return table


_LONG_STRING = ord("S")

#: Field types of fixed size, as RabbitMQ (not the specification) reads them.
_FIXED: dict[int, struct.Struct] = {
    ord(code): struct.Struct(f">{form}")
    for code, form in {
        "t": "?", "b": "b", "B": "B", "s": "h", "u": "H", "I": "i", "i": "I",
        "l": "q", "L": "q", "T": "Q", "f": "f", "d": "d",
    }.items()
}  # fmt: skip


def _read_value(data: bytes, pos: int) -> tuple[Any, int]:
    kind = data[pos]
    pos += 1
    if (form := _FIXED.get(kind)) is not None:
        return form.unpack_from(data, pos)[0], pos + form.size
    match chr(kind):
        case "V":
            return None, pos
        case "D":
            places, number = data[pos], struct.unpack_from(">i", data, pos + 1)[0]
            return number / 10**places, pos + 5
    start = pos + 4
    end = start + _U32.unpack_from(data, pos)[0]
    match chr(kind):
        case "S":
            return data[start:end].decode("utf-8", "replace"), end
        case "x":
            return data[start:end], end
        case "F":
            return _read_table(data, start, end), end
        case "A":
            values = []
            while start < end:
                value, start = _read_value(data, start)
                values.append(value)
            return values, end
    raise ValueError(f"unknown field type {chr(kind)!r}")


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
        unpack = _FRAME.unpack_from
        while size - pos >= _OVERHEAD:
            kind, channel, length = unpack(data, pos)
            end = pos + length + _OVERHEAD
            if end > size:
                break
            if data[end - 1] != _END:
                self._rest = b""
                raise ValueError("a frame from the broker does not end where it should")
            if kind == _METHOD:
                method = _U32.unpack_from(data, pos + 7)[0]
                if method == _DELIVER:
                    end = self._deliver(data, pos + 11, end, size, channel)
                elif method in (_ACK, _NACK):
                    tag, bits = _SETTLED.unpack_from(data, pos + 11)
                    self._sink.on_confirm(
                        channel, tag, is_multiple=bool(bits & 1), is_ack=method == _ACK
                    )
                else:
                    self._sink.on_frame(data[pos:end])
            elif channel in self._partial and kind in (_CONTENT_HEADER, _BODY):
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
        if size - end >= 2 * _OVERHEAD + 14:
            kind, number, length = _FRAME.unpack_from(data, end)
            start: int = end + length + _OVERHEAD
            if kind == _CONTENT_HEADER and number == channel and start + _OVERHEAD <= size:
                body_size = _BODY_SIZE.unpack_from(data, end + 7)[0]
                kind, number, piece = _FRAME.unpack_from(data, start)
                stop: int = start + piece + _OVERHEAD
                if (kind, number, piece) == (_BODY, channel, body_size) and stop <= size:
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
        if kind == _CONTENT_HEADER:
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
