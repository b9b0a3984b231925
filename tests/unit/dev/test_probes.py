"""A probe names the version of the right server and refuses everything else."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest

from cifra_jobs.dev.probes import check_http, rabbitmq_version, redis_version


@contextmanager
def server_that_says(answer: bytes) -> Iterator[tuple[str, int, Future[bytes]]]:
    """A listener that reads a first request and gives one answer."""
    heard: Future[bytes] = Future()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.set_result(connection.recv(4096))
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        host, port = listener.getsockname()
        yield host, port, heard
        thread.join()


def greeting(properties: bytes) -> bytes:
    table = struct.pack(">I", len(properties)) + properties
    payload = b"\x00\x0a\x00\x0a\x00\x09" + table
    return b"\x01\x00\x00" + struct.pack(">I", len(payload)) + payload + b"\xce"


def test_rabbitmq_is_known_by_its_greeting() -> None:
    text = b"\x07versionS" + struct.pack(">I", 5) + b"4.0.5"
    with server_that_says(greeting(text)) as (host, port, heard):
        assert rabbitmq_version(host, port) == "4.0.5"
        assert heard.result() == b"AMQP\x00\x00\x09\x01"


@pytest.mark.parametrize(
    "answer", [b"", b"AMQP\x00\x00\x09\x01", b"HTTP/1.1 400 Bad Request\r\n\r\n", greeting(b"")]
)
def test_something_else_on_the_port_is_not_rabbitmq(answer: bytes) -> None:
    with server_that_says(answer) as (host, port, _), pytest.raises(OSError, match=r"."):
        rabbitmq_version(host, port, timeout=1)


def test_redis_is_asked_with_user_and_password() -> None:
    info = b"# Server\r\nredis_version:7.4.1\r\n"
    answer = b"+OK\r\n:0\r\n$%d\r\n%s\r\n" % (len(info), info)
    with server_that_says(answer) as (host, port, heard):
        assert redis_version(host, port, username="me", password="pass word") == "7.4.1"
        assert b"$2\r\nme\r\n$9\r\npass word\r\n" in heard.result()


@pytest.mark.parametrize(
    "answer",
    [
        b"-NOAUTH Authentication required.\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b":0\r\n$2\r\nhi\r\n",
        b"",
    ],
)
def test_a_redis_that_does_not_serve_is_refused(answer: bytes) -> None:
    with server_that_says(answer) as (host, port, _), pytest.raises(OSError, match=r"."):
        redis_version(host, port, timeout=1)


def test_an_api_that_asks_for_a_password_is_up() -> None:
    with server_that_says(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n") as at:
        check_http(at[0], at[1], "/api/overview")


def test_an_api_that_fails_is_not_up() -> None:
    with (
        server_that_says(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n") as at,
        pytest.raises(OSError, match="503"),
    ):
        check_http(at[0], at[1], "/api/overview")
