"""The properties of a message as bytes: what we write of them, and what a worker reads."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Properties", "decode_properties", "encode_properties", "encode_short", "is_stripped"]

_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_I64 = struct.Struct(">q")

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


def is_stripped(header: str) -> bool:
    """Whether the broker wrote this header: republished, 3.10 takes the message for a cycle."""
    return header.startswith(("x-death", "x-first-death-", "x-last-death-"))


@lru_cache(maxsize=4096)
def encode_short(text: str) -> bytes:
    """A string of at most 255 bytes, as AMQP writes names.

    Raises:
        ValueError: it is longer.
    """
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
            parts += (encode_short(key), b"S", _U32.pack(len(data)), data)
        elif kind is int:
            parts += (encode_short(key), b"l", _I64.pack(value))
        elif kind is bool:
            parts += (encode_short(key), b"t\x01" if value else b"t\x00")
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
        encoding = encode_short(content_encoding)
    if headers:
        flags |= _F_HEADERS
        table = _encode_headers(headers)
    if type_name:
        flags |= _F_TYPE
        kind = encode_short(type_name)
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
