"""Making sure that queues exist: by declaring them, or by looking only."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from cifra_jobs.brokers.rabbitmq import topology
from cifra_jobs.brokers.rabbitmq.listener import ChannelRefused
from cifra_jobs.errors import BrokerError, BrokerUnavailable, TopologyMismatch
from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cifra_jobs.brokers.rabbitmq.connection import Connection
    from cifra_jobs.brokers.rabbitmq.topology import QueueSpec, Topology

__all__ = ["Declarer", "TopologyMode", "to_broker_error"]

_log = get_logger(__name__)

TopologyMode: TypeAlias = Literal["auto", "verify"]

_ACCESS_REFUSED = 403
_NOT_FOUND = 404
_PRECONDITION_FAILED = 406

#: How the broker names what it speaks of.
_ENTITY = re.compile(r"(exchange|queue) '([^']+)'")


def to_broker_error(error: Exception, address: str) -> BrokerError:
    """What the channel said, as an error for the reader."""
    if isinstance(error, BrokerError):
        return error
    if not isinstance(error, ChannelRefused):
        return BrokerUnavailable(f"RabbitMQ at {address} did not answer: {error}")
    if error.code == _ACCESS_REFUSED:
        return BrokerError(
            f"RabbitMQ at {address} forbids it to this user: {error.text}. Grant the permission, "
            f"or let another user declare and set `topology: verify` here."
        )
    if error.code in (_NOT_FOUND, _PRECONDITION_FAILED):
        return TopologyMismatch(
            f"RabbitMQ at {address} has other entities than this deployment declares: {error.text}"
        )
    return BrokerError(f"RabbitMQ at {address} refused: {error}")


class Declarer:
    """Knows what should exist, and what was seen to.

    The methods run on the I/O thread of the connection that they are given, and answer through
    ``done``.
    """

    def __init__(self, namespace: str, specs: Mapping[str, QueueSpec], mode: TopologyMode) -> None:
        self.names = topology.Names(namespace)
        self.mode = mode
        #: Queues that this process declared (or, looking only, found).
        self.known: dict[str, None] = {}
        self._namespace = namespace
        self._specs = specs
        self._shared = topology.shared_part(namespace)

    def spec(self, queue: str) -> QueueSpec:
        """What the deployment chose for this queue."""
        return self._specs.get(queue) or topology.QueueSpec()

    def ensure(
        self,
        connection: Connection,
        queues: Iterable[str],
        done: Callable[[Exception | None], None],
        *,
        is_whole: bool = False,
    ) -> None:
        """Declare the queues and what they need, or check that they are there.

        Args:
            connection: to ask on.
            queues: short names.
            done: is told of the outcome.
            is_whole: every binding again, also where all entities exist.
        """
        names = list(queues)
        parts = self._parts(names)

        def finish(error: Exception | None) -> None:
            if error is None:
                self.known.update(dict.fromkeys(names))
            done(error)

        def on_probed(error: Exception | None) -> None:
            if isinstance(error, ChannelRefused) and error.code == _NOT_FOUND:
                declare_whole()
            elif error is not None:
                finish(error)
            else:
                connection.converse(lambda channel: topology.declare(channel, parts), finish)

        def declare_whole() -> None:
            whole = self._shared + parts
            connection.converse(lambda channel: topology.declare(channel, whole), finish)

        if self.mode == "verify":
            self.differences(connection, names, partial(self._on_verified, finish))
        elif is_whole:
            declare_whole()
        else:
            # The delays have 434 bindings: bound again only if something of them is missing.
            connection.converse(lambda channel: topology.probe(channel, self._shared), on_probed)

    def differences(
        self,
        connection: Connection,
        queues: Iterable[str],
        done: Callable[[Exception | None, list[str]], None],
    ) -> None:
        """Look for what is missing and, where this user may configure, for other arguments."""
        wanted = self._shared + self._parts(queues)
        lines: list[str] = []

        def look(
            todo: Topology, ask: Callable[..., None], then: Callable[[Topology], None]
        ) -> None:
            def on_answer(error: Exception | None) -> None:
                if error is None:
                    then(todo)
                    return
                is_forbidden = isinstance(error, ChannelRefused) and error.code == _ACCESS_REFUSED
                if is_forbidden and ask is topology.declare:
                    then(todo)
                    return
                rest = _without(todo, error)
                if rest is None:
                    done(error, lines)
                    return
                # 4.3 hides a queue from a user with no permission on it: unseen is not missing.
                if not is_forbidden:
                    lines.append(_difference(error))
                look(rest, ask, then)

            connection.converse(partial(ask, topology=todo), on_answer)

        def compare(existing: Topology) -> None:
            if self.mode == "verify":
                done(None, lines)
                return
            # Declared again, an entity that is the same is left alone; another one is refused.
            look(replace(existing, bindings=()), topology.declare, lambda _: done(None, lines))

        look(wanted, topology.probe, compare)

    @staticmethod
    def _on_verified(
        finish: Callable[[Exception | None], None], error: Exception | None, lines: list[str]
    ) -> None:
        if error is None and lines:
            error = TopologyMismatch(
                f"with `topology: verify` nothing is declared here, and this is missing: "
                f"{'; '.join(lines)}"
            )
        finish(error)

    def _parts(self, queues: Iterable[str]) -> Topology:
        parts = topology.Topology()
        for name in queues:
            parts += topology.queue_part(self._namespace, name, self.spec(name))
        return parts


def _difference(error: Exception) -> str:
    """A refusal in a sentence of ours; the broker's own words where they say which argument."""
    found = _ENTITY.search(error.text) if isinstance(error, ChannelRefused) else None
    if found is None or not isinstance(error, ChannelRefused):
        return str(error)
    kind, name = found.groups()
    if error.code == _NOT_FOUND:
        return f"the {kind} {name!r} does not exist"
    return f"the {kind} {name!r} is not as declared here: {error.text}"


def _without(todo: Topology, error: Exception) -> Topology | None:
    """What is left to ask about after a refusal that names an entity; ``None`` if it names none."""
    found = _ENTITY.search(error.text) if isinstance(error, ChannelRefused) else None
    if found is None:
        return None
    kind, name = found.groups()
    if kind == "exchange":
        rest = replace(todo, exchanges=tuple(e for e in todo.exchanges if e.name != name))
    else:
        rest = replace(todo, queues=tuple(q for q in todo.queues if q.name != name))
    return None if rest == todo else rest
