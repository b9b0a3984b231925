"""Finds a RabbitMQ and a Redis, or brings them up, in the order that costs the user least."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from cifra_jobs.dev.apt import AptInstaller
from cifra_jobs.dev.containers import Container, docker_answers
from cifra_jobs.dev.probes import check_tcp, rabbitmq_version, redis_version
from cifra_jobs.dev.rabbitmq import PrivateRabbitmq, rabbitmq_scripts
from cifra_jobs.dev.redis import PrivateRedis, redis_program
from cifra_jobs.errors import ServerUnavailable

__all__ = ["FoundServer", "Servers", "find_servers"]

_RABBITMQ_IMAGE = "rabbitmq:4-management"
_REDIS_IMAGE = "redis:7"
_REDIS_COMMAND = (
    "redis-server --appendonly yes --appendfsync everysec --maxmemory-policy noeviction"
)
#: Seconds for a server that the environment names: it may be on another machine.
_GIVEN_TIMEOUT_S = 5.0

Origin = Literal["environment", "container", "private"]


@dataclass(frozen=True)
class FoundServer:
    """A RabbitMQ or a Redis that serves.

    Attributes:
        name: ``RabbitMQ`` or ``Redis``.
        url: where clients connect; may hold a password.
        origin: ``environment`` (named by a variable), ``container`` or ``private`` (a child).
        version: what it said it is; empty where it was not asked (TLS).
        management_url: RabbitMQ's HTTP API with user and password, where known.
        private: the child process, for tests that stop or kill it.
    """

    name: str
    url: str = field(repr=False)
    origin: Origin
    version: str
    management_url: str | None = field(default=None, repr=False)
    private: PrivateRabbitmq | PrivateRedis | None = None

    def describe(self) -> str:
        """One line for people, without the password."""
        how = {
            "environment": "named by the environment",
            "container": "in a container",
            "private": "a private child process",
        }[self.origin]
        version = self.version or "(version unknown)"
        return f"{self.name} {version} at {_place(self.url)}, {how}"


@dataclass
class Servers:
    """What `find_servers` found; closing it ends what it started.

    Attributes:
        rabbitmq: the broker, or ``None``: use the embedded one (``broker.type: memory``).
        redis: the store, or ``None``: use the embedded one (``result_backend.type: memory``).
    """

    rabbitmq: FoundServer | None
    redis: FoundServer | None
    _started: ExitStack = field(default_factory=ExitStack, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the servers that were started for this; leave those that were there."""
        self._started.close()

    def environment(self) -> dict[str, str]:
        """``RABBITMQ_URL`` and ``REDIS_URL`` for child processes, as far as there are servers."""
        found = {"RABBITMQ_URL": self.rabbitmq, "REDIS_URL": self.redis}
        return {name: server.url for name, server in found.items() if server is not None}


def find_servers(*, allow_embedded: bool, announce: Callable[[str], None]) -> Servers:
    """Find a RabbitMQ and a Redis, each on its own.

    In this order: ``RABBITMQ_URL`` / ``REDIS_URL``; a container, if a Docker engine answers; the
    installed programs as private children; the same after installing them with apt-get (as root);
    none, which means the embedded broker or store.

    Args:
        allow_embedded: whether none is an answer.
        announce: gets a line for each server found, each long step and each way that failed.

    Returns:
        The servers, to be closed.

    Raises:
        ServerUnavailable: a server named by the environment does not answer; or none was found
            and ``allow_embedded`` is false.
    """
    with ExitStack() as started:
        installer = AptInstaller(announce)
        has_docker = docker_answers() if _needs_docker() else False
        rabbitmq = _Search(_RABBITMQ, announce, installer, started).run(has_docker=has_docker)
        redis = _Search(_REDIS, announce, installer, started).run(has_docker=has_docker)
        for kind, found in ((_RABBITMQ, rabbitmq), (_REDIS, redis)):
            if found is None and not allow_embedded:
                raise ServerUnavailable(
                    f"No {kind.name} was found: set {kind.variable}, start Docker, or install "
                    f"{kind.package}."
                )
            if found is None:
                announce(f"No {kind.name} here: going on with {kind.embedded}.")
        return Servers(rabbitmq, redis, started.pop_all())


@dataclass(frozen=True)
class _Kind:
    """What is different between looking for a RabbitMQ and for a Redis."""

    name: str
    variable: str
    package: str
    embedded: str
    is_installed: Callable[[], bool]
    private: Callable[[], PrivateRabbitmq | PrivateRedis]
    given: Callable[[str], FoundServer]
    container: Callable[[ExitStack], FoundServer]


class _Search:
    def __init__(
        self,
        kind: _Kind,
        announce: Callable[[str], None],
        installer: AptInstaller,
        started: ExitStack,
    ) -> None:
        self._kind = kind
        self._announce = announce
        self._installer = installer
        self._started = started

    def run(self, *, has_docker: bool) -> FoundServer | None:
        found = self._given()
        if found is None and has_docker:
            found = self._attempt(self._container)
        if found is None and (self._kind.is_installed() or self._install()):
            found = self._attempt(self._private)
        if found is not None:
            self._announce(found.describe() + ".")
        return found

    def _attempt(self, way: Callable[[], FoundServer]) -> FoundServer | None:
        try:
            return way()
        except ServerUnavailable as error:
            self._announce(str(error))
            return None

    def _given(self) -> FoundServer | None:
        url = os.environ.get(self._kind.variable)
        if not url:
            return None
        try:
            return self._kind.given(url)
        except (OSError, ValueError) as error:
            raise ServerUnavailable(
                f"{self._kind.variable} names a {self._kind.name} at {_place(url)} that does not "
                f"answer ({error}): start it, or unset {self._kind.variable}."
            ) from error

    def _container(self) -> FoundServer:
        self._announce(f"Starting {self._kind.name} in a container …")
        return self._kind.container(self._started)

    def _private(self) -> FoundServer:
        self._announce(f"Starting a private {self._kind.name} …")
        server = self._kind.private()
        self._started.callback(server.close)
        server.start()
        management = server.management_url if isinstance(server, PrivateRabbitmq) else None
        return FoundServer(
            self._kind.name, server.url, "private", server.version, management, server
        )

    def _install(self) -> bool:
        if not self._installer.is_possible():
            return False
        problem = self._installer.install(self._kind.package)
        if problem is None and not self._kind.is_installed():
            problem = "apt-get installed it, but its programs are not where they belong"
        if problem is not None:
            self._announce(f"{self._kind.package} could not be installed: {problem}.")
        return problem is None


def _needs_docker() -> bool:
    return not (os.environ.get(_RABBITMQ.variable) and os.environ.get(_REDIS.variable))


def _place(url: str) -> str:
    """Host and port of an address, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _given_rabbitmq(url: str) -> FoundServer:
    at = urlsplit(url)
    management = os.environ.get("RABBITMQ_MANAGEMENT_URL")
    problem = OSError("it names no host")
    # Several hosts may be given, joined by commas: one that answers is enough.
    for place in at.netloc.rpartition("@")[2].split(","):
        node = urlsplit(f"//{place}")
        host = node.hostname or "localhost"
        version = ""
        try:
            if at.scheme == "amqps":
                check_tcp(host, node.port or 5671, timeout=_GIVEN_TIMEOUT_S)
            else:
                version = rabbitmq_version(host, node.port or 5672, timeout=_GIVEN_TIMEOUT_S)
        except OSError as error:
            problem = error
            continue
        return FoundServer("RabbitMQ", url, "environment", version, management)
    raise problem


def _given_redis(url: str) -> FoundServer:
    at = urlsplit(url)
    host, port = at.hostname or "localhost", at.port or 6379
    version = ""
    if at.scheme == "rediss":
        check_tcp(host, port, timeout=_GIVEN_TIMEOUT_S)
    else:
        version = redis_version(
            host,
            port,
            username=unquote(at.username or ""),
            password=unquote(at.password or ""),
            timeout=_GIVEN_TIMEOUT_S,
        )
    return FoundServer("Redis", url, "environment", version)


def _container_rabbitmq(started: ExitStack) -> FoundServer:
    container = Container(_RABBITMQ_IMAGE, [5672, 15672])
    version = container.start(rabbitmq_version)
    started.callback(container.close)
    host, port = container.address(5672)
    management_host, management_port = container.address(15672)
    return FoundServer(
        "RabbitMQ",
        f"amqp://guest:guest@{host}:{port}/%2F",
        "container",
        version,
        f"http://guest:guest@{management_host}:{management_port}",
    )


def _container_redis(started: ExitStack) -> FoundServer:
    container = Container(_REDIS_IMAGE, [6379], _REDIS_COMMAND)
    version = container.start(redis_version)
    started.callback(container.close)
    host, port = container.address(6379)
    return FoundServer("Redis", f"redis://{host}:{port}/0", "container", version)


_RABBITMQ = _Kind(
    name="RabbitMQ",
    variable="RABBITMQ_URL",
    package="rabbitmq-server",
    embedded="the embedded broker (messages live and die with this process)",
    is_installed=lambda: rabbitmq_scripts() is not None,
    private=PrivateRabbitmq,
    given=_given_rabbitmq,
    container=_container_rabbitmq,
)
_REDIS = _Kind(
    name="Redis",
    variable="REDIS_URL",
    package="redis-server",
    embedded="the embedded store (states and results live and die with this process)",
    is_installed=lambda: redis_program() is not None,
    private=PrivateRedis,
    given=_given_redis,
    container=_container_redis,
)
