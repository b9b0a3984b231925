"""A TCP proxy whose connections can be cut, stalled and refused: a bad network at will."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["TcpProxy"]

_CHUNK_BYTES = 65536
_CONNECT_TIMEOUT_S = 10.0


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and passes every byte on, both ways.

    Args:
        host: of the real server.
        port: of the real server.

    Attributes:
        host: where clients connect.
        port: where clients connect.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._flowing = threading.Event()
        self._flowing.set()
        self._is_refusing = False
        self._is_closed = False
        threading.Thread(target=self._listen, name="proxy", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def cut(self) -> None:
        """Close every connection now; new ones are let through."""
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def refuse(self, *, refuse: bool = True) -> None:
        """Close new connections as soon as they are made, until ``refuse(refuse=False)``."""
        self._is_refusing = refuse

    def stall(self) -> None:
        """Hold back every byte until `flow`; connections stay open."""
        self._flowing.clear()

    def flow(self) -> None:
        """Let the bytes go on."""
        self._flowing.set()

    def close(self) -> None:
        """Cut every connection and stop listening."""
        self._is_closed = True
        # A blocked accept() is only woken by a shutdown of its socket.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self.flow()

    @property
    def connection_count(self) -> int:
        """Connections passed on at the moment."""
        with self._lock:
            return len(self._sockets) // 2

    def _listen(self) -> None:
        while not self._is_closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(self._upstream, timeout=_CONNECT_TIMEOUT_S)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._sockets |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(
                    target=self._pump, args=(source, sink), name="proxy-pump", daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        # An error means that either side was cut: the other side learns of it below.
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                self._flowing.wait()
                sink.sendall(chunk)
        with self._lock:
            self._sockets -= {source, sink}
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
