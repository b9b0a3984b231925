import struct
from dataclasses import dataclass, field
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika.frame import Body, Header, Method, decode_frame

from cifra_jobs.brokers.rabbitmq import properties as props
from cifra_jobs.brokers.rabbitmq import scanner as scanning
from cifra_jobs.brokers.rabbitmq import wire

HEADERS = st.dictionaries(
    st.text(min_size=1, max_size=30),
    st.text(max_size=50) | st.integers(-(2**63), 2**63 - 1) | st.booleans(),
)


@dataclass
class Heard:
    """Everything that a scanner told."""

    deliveries: list[tuple[int, int, bytes, bytes, bool]] = field(default_factory=list)
    confirms: list[tuple[int, int, bool, bool]] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)

    def on_deliver(
        self, channel: int, tag: int, properties: bytes, body: bytes, *, is_redelivered: bool
    ) -> None:
        self.deliveries.append((channel, tag, properties, body, is_redelivered))

    def on_confirm(self, channel: int, tag: int, *, is_multiple: bool, is_ack: bool) -> None:
        self.confirms.append((channel, tag, is_multiple, is_ack))

    def on_frame(self, frame: bytes) -> None:
        self.frames.append(frame)


def encode(**values: Any) -> bytes:
    defaults: dict[str, Any] = {
        "message_id": "m",
        "priority": 0,
        "timestamp_s": 0,
        "headers": {},
        "content_encoding": None,
        "type_name": None,
    }
    return props.encode_properties(**(defaults | values))


def frames_of(data: bytes) -> list[Any]:
    frames = []
    while data:
        size, frame = decode_frame(data)
        frames.append(frame)
        data = data[size:]
    return frames


def delivery(channel: int, tag: int, body: bytes, pieces: int = 1) -> list[bytes]:
    """The frames of a delivery as pika writes them."""
    method = pika.spec.Basic.Deliver("ctag", tag, True, "exchange", "key")
    properties = pika.BasicProperties(message_id=f"m{tag}")
    cut = -(-len(body) // pieces) or 1
    return [
        Method(channel, method).marshal(),
        Header(channel, len(body), properties).marshal(),
        *(Body(channel, body[start : start + cut]).marshal() for start in range(0, len(body), cut)),
    ]


@given(HEADERS, st.binary(max_size=300), st.integers(0, 9), st.none() | st.just("gzip"))
def test_pika_reads_what_we_publish(
    headers: dict[str, Any], body: bytes, priority: int, encoding: str | None
) -> None:
    properties = encode(
        message_id="an id",
        priority=priority,
        timestamp_s=1_700_000_000,
        headers=headers,
        content_encoding=encoding,
        type_name="reports.build",
    )
    method = wire.publish_method(3, "cifra.task", "default")
    first, header, *bodies = frames_of(wire.publish_frames(method, 3, properties, body, 108))
    assert (first.method.exchange, first.method.routing_key) == ("cifra.task", "default")
    assert first.method.mandatory
    assert {first.channel_number, header.channel_number} == {3}
    seen = header.properties
    assert (seen.message_id, seen.priority, seen.timestamp) == ("an id", priority, 1_700_000_000)
    assert (seen.content_type, seen.content_encoding) == ("application/json", encoding)
    assert (seen.type, seen.app_id, seen.delivery_mode) == ("reports.build", "cifra_jobs", 2)
    kept = {key: value for key, value in headers.items() if not props.is_stripped(key)}
    assert (seen.headers or {}) == kept
    assert header.body_size == len(body)
    assert b"".join(each.fragment for each in bodies) == body
    assert all(len(each.fragment) <= 100 for each in bodies)


@given(HEADERS, st.integers(0, 9))
def test_we_read_what_pika_writes(headers: dict[str, Any], priority: int) -> None:
    headers["nested"] = {"list": [1, "two", {"three": 3}], "nothing": None}
    written = pika.BasicProperties(
        content_type="text/plain",
        content_encoding="gzip",
        headers=headers,
        priority=priority,
        correlation_id="c",
        reply_to="r",
        expiration="1000",
        message_id="m",
        user_id="u",
    )
    data = b"".join(written.encode())
    assert props.decode_properties(data) == ("gzip", headers, priority, "m")


def test_headers_of_the_brokers_own_dead_lettering_do_not_travel() -> None:
    headers = {
        "x-death": "a",
        "x-first-death-queue": "b",
        "x-last-death-reason": "c",
        "x-delivery-count": 1,
        "kept": "d",
    }
    _, seen, _, _ = props.decode_properties(encode(headers=headers))
    assert seen == {"x-delivery-count": 1, "kept": "d"}


@pytest.mark.parametrize("value", [1.5, None, b"bytes", ["list"]])
def test_a_header_that_cannot_travel_is_named(value: object) -> None:
    with pytest.raises(ValueError, match=r"header 'score' is a .*only strings and integers"):
        encode(headers={"score": value})


def test_a_message_id_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 255 bytes"):
        encode(message_id="x" * 256)


@given(st.binary(max_size=60))
def test_garbage_for_properties_is_one_kind_of_error(data: bytes) -> None:
    try:
        props.decode_properties(data)
    except ValueError:
        return


@given(st.lists(st.integers(1, 80), min_size=1), st.lists(st.binary(max_size=200), max_size=6))
def test_deliveries_come_out_whole_however_the_socket_cuts_them(
    cuts: list[int], bodies: list[bytes]
) -> None:
    stream = b"".join(
        b"".join(delivery(1, tag, body, pieces=1 + tag % 3)) for tag, body in enumerate(bodies)
    )
    heard = Heard()
    scanner = scanning.FrameScanner(heard)
    position = turn = 0
    while position < len(stream):
        size = cuts[turn % len(cuts)]
        scanner.feed(stream[position : position + size])
        position += size
        turn += 1
    assert [(tag, body) for _, tag, _, body, _ in heard.deliveries] == list(enumerate(bodies))
    ids = [props.decode_properties(properties)[3] for _, _, properties, _, _ in heard.deliveries]
    assert ids == [f"m{tag}" for tag in range(len(bodies))]
    assert heard.frames == []


def test_frames_of_other_channels_may_come_between_those_of_a_delivery() -> None:
    heard = Heard()
    scanner = scanning.FrameScanner(heard)
    one, two = delivery(1, 7, b"body one"), delivery(2, 8, b"body two")
    beat = b"\x08\0\0\0\0\0\0\xce"
    scanner.feed(b"".join([one[0], two[0], beat, two[1], one[1], two[2], one[2]]))
    assert [(channel, tag, body) for channel, tag, _, body, _ in heard.deliveries] == [
        (2, 8, b"body two"),
        (1, 7, b"body one"),
    ]
    assert heard.frames == [beat]


def test_confirms_are_told_as_numbers() -> None:
    heard = Heard()
    frames = [
        Method(1, pika.spec.Basic.Ack(5, multiple=True)).marshal(),
        Method(2, pika.spec.Basic.Nack(6)).marshal(),
    ]
    scanning.FrameScanner(heard).feed(b"".join(frames))
    assert heard.confirms == [(1, 5, True, True), (2, 6, False, False)]


def test_a_stream_that_is_not_amqp_is_noticed() -> None:
    with pytest.raises(ValueError, match="does not end where it should"):
        scanning.FrameScanner(Heard()).feed(struct.pack(">BHI", 8, 0, 0) + b"\x00" * 20)


def test_the_rest_of_a_closed_channels_message_is_forgotten() -> None:
    heard = Heard()
    scanner = scanning.FrameScanner(heard)
    frames = delivery(1, 7, b"body")
    scanner.feed(frames[0])
    scanner.forget(1)
    scanner.feed(b"".join(delivery(1, 1, b"new")))
    assert [(tag, body) for _, tag, _, body, _ in heard.deliveries] == [(1, b"new")]
