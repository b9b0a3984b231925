"""Asks a port which server answers there. No client library: a few bytes each way."""

from __future__ import annotations

import http.client
import re
import socket

__all__ = ["check_http", "check_tcp", "rabbitmq_version", "redis_version"]


def rabbitmq_version(host: str, port: int, *, timeout: float = 2.0) -> str:
    """The version in RabbitMQ's greeting, which it sends once it takes connections.

    Args:
        host: name or address.
        port: its AMQP port, without TLS.
        timeout: seconds for each step.

    Returns:
        For example ``"3.10.8"``.

    Raises:
        OSError: nobody answers, or somebody else does.
    """
    with socket.create_connection((host, port), timeout) as connection:
        connection.sendall(b"AMQP\x00\x00\x09\x01")
        frame = _read(connection, 7)
        greeting = _read(connection, int.from_bytes(frame[3:7]))
    # Connection.Start carries the server's properties; each text is "S", its length, its bytes.
    found = re.search(rb"\x07versionS(.{4})", greeting, re.DOTALL)
    if frame[0] != 1 or found is None:
        raise ConnectionError(f"{host}:{port} does not speak AMQP 0-9-1")
    return greeting[found.end() : found.end() + int.from_bytes(found[1])].decode()


def redis_version(
    host: str, port: int, *, username: str = "", password: str = "", timeout: float = 2.0
) -> str:
    """The version that Redis gives about itself, once its data is loaded.

    Args:
        host: name or address.
        port: its port, without TLS.
        username: user of an access list, empty for the default user.
        password: empty where none is needed.
        timeout: seconds for each step.

    Returns:
        For example ``"7.0.15"``.

    Raises:
        OSError: nobody answers, it refuses, it still loads, or it is something else.
    """
    with (
        socket.create_connection((host, port), timeout) as connection,
        connection.makefile("rwb") as s,
    ):
        if password:
            s.write(_redis_command("AUTH", *([username] if username else []), password))
        # A server that loads its data answers this with an error, and INFO without one.
        s.write(_redis_command("EXISTS", "cifra") + _redis_command("INFO", "server"))
        s.flush()
        for _ in range(2 if password else 1):
            answer = s.readline()
            if not answer.startswith((b"+OK", b":")):
                said = answer.decode(errors="replace").strip()
                raise ConnectionError(f"{host}:{port} answered {said!r} instead of serving Redis")
        size = s.readline()
        info = s.read(int(size[1:])) if size.startswith(b"$") else size
    found = re.search(rb"(?:redis|valkey)_version:(\S+)", info)
    if found is None:
        raise ConnectionError(f"{host}:{port} does not say its Redis version")
    return found[1].decode()


def check_http(host: str, port: int, path: str, *, timeout: float = 2.0) -> None:
    """Return when an HTTP server answers 200 or 401 there.

    Args:
        host: name or address.
        port: its port.
        path: what to ask for.
        timeout: seconds for each step.

    Raises:
        OSError: nobody answers, or with something else.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise ConnectionError(f"{host}:{port} does not speak HTTP: {error!r}") from error
    finally:
        connection.close()
    if status not in {200, 401}:
        raise ConnectionError(f"{host}:{port}{path} answered {status}")


def check_tcp(host: str, port: int, *, timeout: float = 2.0) -> None:
    """Return when somebody listens there.

    Args:
        host: name or address.
        port: the port.
        timeout: seconds.

    Raises:
        OSError: nobody listens.
    """
    socket.create_connection((host, port), timeout).close()


def _redis_command(*words: str) -> bytes:
    parts = [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(parts)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("the server closed the connection")
        data += part
    return data
