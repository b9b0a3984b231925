"""RabbitMQ and Redis in containers, where a Docker engine answers."""

from __future__ import annotations

import http.client
import importlib.util
import os
import socket
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import SplitResult, urlsplit

from cifra_jobs.clock import system_clock
from cifra_jobs.errors import ServerUnavailable

__all__ = ["Container", "docker_answers"]

_PING_TIMEOUT_S = 1.0
_START_TIMEOUT_S = 120.0
#: Seconds between two questions whether the server is ready; its end is noticed at once.
_PROBE_INTERVAL_S = 0.2

Probe: TypeAlias = Callable[[str, int], str]


def docker_answers() -> bool:
    """Whether a Docker engine answers within a second and testcontainers is installed."""
    if importlib.util.find_spec("testcontainers") is None:
        return False
    address = urlsplit(os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    try:
        with _connect(address) as engine:
            connection = http.client.HTTPConnection("docker")
            connection.sock = engine
            connection.request("GET", "/_ping")
            return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def _connect(address: SplitResult) -> socket.socket:
    if address.scheme != "unix":
        target = (address.hostname or "localhost", address.port or 2375)
        return socket.create_connection(target, _PING_TIMEOUT_S)
    engine = socket.socket(socket.AF_UNIX)
    try:
        engine.settimeout(_PING_TIMEOUT_S)
        engine.connect(address.path)
    except OSError:
        engine.close()
        raise
    return engine


class Container:
    """One server in a container, with its ports published on this machine.

    Args:
        image: what to run.
        ports: the container's ports; the first is asked for readiness.
        command: what to run in it, instead of the image's own.
    """

    def __init__(self, image: str, ports: list[int], command: str | None = None) -> None:
        # Imported here: it is a dependency of the tests, and slow to import.
        from testcontainers.core.container import DockerContainer

        self._image = image
        self._ports = ports
        self._container: Any = DockerContainer(image, command=command).with_exposed_ports(*ports)

    def start(self, probe: Probe) -> str:
        """Start it and wait until it serves.

        Args:
            probe: called with host and port; returns the server's version, or raises `OSError`.

        Returns:
            The version.

        Raises:
            ServerUnavailable: the engine refused, or the server did not come up.
        """
        try:
            self._container.start()
        except Exception as error:  # the engine's client raises its own and the transport's errors
            raise ServerUnavailable(f"Docker did not start {self._image}: {error}") from error
        return self._await(probe)

    def close(self) -> None:
        """Stop and remove the container."""
        self._container.stop()

    def address(self, port: int) -> tuple[str, int]:
        """Where one of its ports is published: host and port.

        Args:
            port: the container's own port.
        """
        host = self._container.get_container_host_ip()
        return str(host), int(self._container.get_exposed_port(port))

    def _await(self, probe: Probe) -> str:
        deadline = system_clock.monotonic() + _START_TIMEOUT_S
        host, port = self.address(self._ports[0])
        problem = "it never answered"
        while system_clock.monotonic() < deadline:
            try:
                return probe(host, port)
            except OSError as error:
                problem = str(error)
            if self._has_ended():
                problem = "the container ended"
                break
        log = self._container.get_logs()[0].decode(errors="replace")[-2000:]
        self.close()
        raise ServerUnavailable(f"{self._image} did not come up: {problem}. Its log:\n{log}")

    def _has_ended(self) -> bool:
        try:
            self._container.get_wrapped_container().wait(timeout=_PROBE_INTERVAL_S)
        except OSError:
            # The client's own timeout: the container still runs.
            return False
        return True
