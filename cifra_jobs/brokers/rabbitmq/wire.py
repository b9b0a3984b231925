"""The few AMQP frames that are sent thousands of times a second, as bytes.

pika builds some ten objects and makes three socket calls for one publish; here it is one `bytes`.
What is read as often is in `scanner`, everything else is left to pika.
"""

from __future__ import annotations

import struct

from cifra_jobs.brokers.rabbitmq.properties import encode_short

__all__ = [
    "ACK",
    "BODY",
    "CONTENT_HEADER",
    "END",
    "FRAME",
    "METHOD",
    "NACK",
    "OVERHEAD",
    "U32",
    "publish_frames",
    "publish_method",
    "settle_frame",
]

#: Kind, channel and length of the payload: what every frame begins with.
FRAME = struct.Struct(">BHI")
_HEADER = struct.Struct(">BHIHHQ")
_SETTLE = struct.Struct(">BHIIQBB")
U32 = struct.Struct(">I")

METHOD, CONTENT_HEADER, BODY = 1, 2, 3
END = 0xCE
#: Bytes of a frame beside its payload.
OVERHEAD = 8

_PUBLISH = 0x003C0028
ACK = 0x003C0050
NACK = 0x003C0078


def publish_method(channel: int, exchange: str, routing_key: str) -> bytes:
    """The first frame of a mandatory publish; the same for all messages of one queue."""
    payload = b"".join(
        (U32.pack(_PUBLISH), b"\0\0", encode_short(exchange), encode_short(routing_key), b"\x01")
    )
    return FRAME.pack(METHOD, channel, len(payload)) + payload + b"\xce"


def publish_frames(
    method: bytes, channel: int, properties: bytes, body: bytes, frame_max: int
) -> bytes:
    """A whole publish, ready for the socket."""
    size = len(body)
    room = frame_max - OVERHEAD
    head = _HEADER.pack(CONTENT_HEADER, channel, 12 + len(properties), 60, 0, size)
    if 0 < size <= room:
        return b"".join(
            (method, head, properties, b"\xce", FRAME.pack(BODY, channel, size), body, b"\xce")
        )
    parts = [method, head, properties, b"\xce"]
    for start in range(0, size, room):
        piece = body[start : start + room]
        parts += (FRAME.pack(BODY, channel, len(piece)), piece, b"\xce")
    return b"".join(parts)


def settle_frame(channel: int, tag: int, *, is_ack: bool, is_multiple: bool) -> bytes:
    """``basic.ack``, or ``basic.nack`` with requeue."""
    if is_ack:
        return _SETTLE.pack(METHOD, channel, 13, ACK, tag, is_multiple, END)
    return _SETTLE.pack(METHOD, channel, 13, NACK, tag, 2 | is_multiple, END)
