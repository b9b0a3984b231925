"""Serves the application alone, for ``cifra flower start`` and ``cifra dev``."""

from __future__ import annotations

import errno
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from cifra_jobs.errors import ConfigError
from cifra_jobs.runtime.ports import holder_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.types import ASGIApp

__all__ = ["bind", "serve"]

_ENDING = (signal.SIGINT, signal.SIGTERM)
#: Seconds that open streams get at the end.
_GRACE_S = 2


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 is any free one.

    Raises:
        ConfigError: the port is taken, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} on {host} is taken by {holder_of(port)}; stop it, or choose another "
                "with --port or monitoring.flower.port"
            ) from None
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror}; see monitoring.flower.host"
        ) from None
    return listener


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM, then return."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_S, lifespan="off"
    )
    _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Ends at a signal without raising it again: whoever called has things to close."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Let a signal end the server, while it serves."""
        before = {each: signal.signal(each, self.handle_exit) for each in _ENDING}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
