import socket
import threading
from collections.abc import Iterator

import pytest

from cifra_jobs.testing import TcpProxy, eventually


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """A server that sends back what it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            while chunk := connection.recv(1024):
                connection.sendall(chunk)

    def listen() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[TcpProxy]:
    with TcpProxy(*echo) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: TcpProxy) -> Iterator[socket.socket]:
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
        yield client


def test_a_cut_ends_every_connection_and_lets_new_ones_in(
    proxy: TcpProxy, client: socket.socket
) -> None:
    assert proxy.connection_count == 1
    proxy.cut()
    assert client.recv(100) == b""
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as again:
        again.sendall(b"again")
        assert again.recv(100) == b"again"


def test_a_stalled_proxy_holds_every_byte_until_it_flows(
    proxy: TcpProxy, client: socket.socket
) -> None:
    proxy.stall()
    client.sendall(b"later")
    client.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.recv(100)
    proxy.flow()
    client.settimeout(5)
    assert client.recv(100) == b"later"


def test_a_refusing_proxy_closes_new_connections(proxy: TcpProxy) -> None:
    proxy.refuse()
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
        assert client.recv(100) == b""
    proxy.refuse(refuse=False)
    with socket.create_connection((proxy.host, proxy.port), timeout=5) as client:
        client.sendall(b"x")
        assert client.recv(100) == b"x"


def test_a_closed_connection_is_forgotten(proxy: TcpProxy, client: socket.socket) -> None:
    client.close()
    eventually(lambda: proxy.connection_count == 0)
