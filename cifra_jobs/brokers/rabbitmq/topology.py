"""Exchanges, queues, bindings and policies as data, and how they are put on a channel.

Arguments are for ever (a queue cannot change them), so they hold identity only: type, levels of
priority, where the dead go. What may change later is a policy.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from cifra_jobs.brokers.rabbitmq import delays
from cifra_jobs.names import QUEUE_NAME_RULE, is_queue_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Binding",
    "Exchange",
    "Names",
    "Policy",
    "Queue",
    "QueueSpec",
    "QueueType",
    "Topology",
    "build",
    "check_queue_name",
    "declare",
    "diff",
    "map_priority",
    "policies",
    "probe",
    "queue_part",
    "shared_part",
    "teardown",
]

QueueType: TypeAlias = Literal["classic", "quorum"]

#: Our scale of priorities is 0..9.
_TOP_PRIORITY = 9

#: Quorum queues before 4.3 know two classes: up to 4, and above.
_STRICT_PRIORITIES_SINCE = (4, 3)
_LAST_NORMAL_PRIORITY = 5


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """What a deployment chooses for one queue.

    Attributes:
        type: ``classic`` (default) or ``quorum``.
        priorities: levels on a classic queue, 0..9; 0 is the fastest. Quorum queues have their own.
    """

    type: QueueType = "classic"
    priorities: int = _TOP_PRIORITY

    def __post_init__(self) -> None:
        if self.type not in ("classic", "quorum"):
            raise ValueError(f"the type of a queue is classic or quorum, not {self.type!r}")
        if not 0 <= self.priorities <= _TOP_PRIORITY:
            raise ValueError(f"a queue has 0 to 9 levels of priority, not {self.priorities}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: Literal["direct", "fanout", "topic"]
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Binding:
    """From an exchange to a queue, or to another exchange."""

    source: str
    target: str
    key: str
    is_to_exchange: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that a guarantee leans on; set by ``rabbitmq/definitions.json``, never by us.

    Attributes:
        versions: first version it is for, and the first that it is not for any more.
    """

    name: str
    pattern: str
    definition: Mapping[str, Any]
    apply_to: str = "queues"
    priority: int = 10
    versions: tuple[tuple[int, int], tuple[int, int] | None] = ((3, 8), None)


@dataclass(frozen=True, slots=True)
class Topology:
    """What should exist, in the order in which it is declared."""

    exchanges: tuple[Exchange, ...] = ()
    queues: tuple[Queue, ...] = ()
    bindings: tuple[Binding, ...] = ()

    def __add__(self, other: Topology) -> Topology:
        return Topology(
            self.exchanges + other.exchanges,
            self.queues + other.queues,
            self.bindings + other.bindings,
        )


@dataclass(frozen=True, slots=True)
class Names:
    """Every name on the broker, from the namespace of the deployment."""

    namespace: str = "cifra"

    @property
    def task(self) -> str:
        """The exchange that senders publish to."""
        return f"{self.namespace}.task"

    @property
    def dlx(self) -> str:
        """The exchange of the dead."""
        return f"{self.namespace}.dlx"

    @property
    def deliver(self) -> str:
        """The exchange where delayed messages come out."""
        return f"{self.namespace}.delay.deliver"

    @property
    def unrouted(self) -> str:
        """The exchange for delayed messages whose queue has gone."""
        return f"{self.namespace}.unrouted"

    @property
    def parked(self) -> str:
        """The queue behind `unrouted`; no queue of a task can have this name."""
        return f"{self.namespace}.dead._unrouted"

    def queue(self, short: str) -> str:
        """The work queue of this short name."""
        return f"{self.namespace}.q.{short}"

    def dead(self, short: str) -> str:
        """The dead-letter queue of this short name."""
        return f"{self.namespace}.dead.{short}"

    def delay(self, level: int) -> str:
        """Exchange and queue of one level of delay."""
        return f"{self.namespace}.delay.{level:02d}"


def check_queue_name(name: str) -> str:
    """The name, if a queue can have it.

    Raises:
        ValueError: it breaks the rule of ``names.py``.
    """
    if not is_queue_name(name):
        raise ValueError(f"{name!r} cannot be a queue: its name must be {QUEUE_NAME_RULE}")
    return name


def map_priority(priority: int, spec: QueueSpec, version: tuple[int, int]) -> int:
    """What to send for our priority 0..9, so that this kind of queue orders as we mean it."""
    if spec.type == "classic":
        return math.ceil(priority * spec.priorities / _TOP_PRIORITY)
    if version >= _STRICT_PRIORITIES_SINCE:
        return priority
    return 4 if priority <= _LAST_NORMAL_PRIORITY else 5


def shared_part(namespace: str, delay_type: QueueType = "classic") -> Topology:
    """What every queue needs: the task exchange, the exchange of the dead, and the delays."""
    names = Names(namespace)
    kept = _quorum_arguments() if delay_type == "quorum" else {}
    exchanges = [
        Exchange(names.unrouted, "fanout"),
        Exchange(names.task, "direct"),
        Exchange(names.dlx, "direct"),
        Exchange(names.deliver, "topic", {"alternate-exchange": names.unrouted}),
    ]
    queues, bound = [], []
    for level in range(delays.LEVEL_COUNT):
        name = names.delay(level)
        arguments = {
            "x-queue-type": delay_type,
            "x-message-ttl": delays.hold_ms(level),
            "x-dead-letter-exchange": names.delay(level - 1) if level else names.deliver,
            **kept,
        }
        exchanges.append(Exchange(name, "topic"))
        queues.append(Queue(name, arguments))
        bound += [
            Binding(name, names.deliver, key, is_to_exchange=True)
            if target is None
            else Binding(name, names.delay(target), key)
            for target, key in delays.bindings(level)
        ]
    queues.append(Queue(names.parked, {"x-queue-type": delay_type}))
    bound.append(Binding(names.unrouted, names.parked, ""))
    return Topology(tuple(exchanges), tuple(queues), tuple(bound))


def queue_part(namespace: str, name: str, spec: QueueSpec) -> Topology:
    """One queue, its dead-letter queue and their bindings."""
    names = Names(namespace)
    check_queue_name(name)
    arguments: dict[str, Any] = {
        "x-queue-type": spec.type,
        "x-dead-letter-exchange": names.dlx,
        # A message that came through the delays has their routing key.
        "x-dead-letter-routing-key": name,
    }
    if spec.type == "quorum":
        arguments |= _quorum_arguments()
    elif spec.priorities:
        arguments["x-max-priority"] = spec.priorities
    return Topology(
        queues=(
            # The dead first: a work queue whose dead have nowhere to go loses them.
            Queue(names.dead(name), {"x-queue-type": spec.type}),
            Queue(names.queue(name), arguments),
        ),
        bindings=(
            Binding(names.dlx, names.dead(name), name),
            Binding(names.task, names.queue(name), name),
            Binding(names.deliver, names.queue(name), f"{name}.#"),
        ),
    )


def build(
    namespace: str, queues: Mapping[str, QueueSpec], *, delay_type: QueueType = "classic"
) -> Topology:
    """Everything that a deployment with these queues needs.

    Raises:
        ValueError: a queue has a name that cannot be.
    """
    topology = shared_part(namespace, delay_type)
    for name, spec in queues.items():
        topology += queue_part(namespace, name, spec)
    return topology


def policies(namespace: str = "cifra") -> tuple[Policy, ...]:
    """The policies that the guarantees lean on."""
    prefix = f"^{re.escape(namespace)}\\."
    return (
        # The net below our own count of deaths, for messages that kill before we could count.
        Policy(f"{namespace}-work", f"{prefix}q\\.", {"delivery-limit": 20}),
        # 4.0 brought a limit of 20 to every quorum queue: looking at the dead must not use it up.
        Policy(
            f"{namespace}-dead", f"{prefix}dead\\.", {"delivery-limit": -1}, versions=((4, 0), None)
        ),
        # Classic queues of 3.x hold messages in memory: 50,000 waiting ones took 400 MB.
        Policy(
            f"{namespace}-delay",
            f"{prefix}delay\\.[0-9]+$",
            {"queue-mode": "lazy"},
            versions=((3, 8), (4, 0)),
        ),
    )


def declare(channel: Any, topology: Topology, *, with_bindings: bool = True) -> None:
    """Ask for all of it without waiting; a refusal closes the channel."""
    for exchange in topology.exchanges:
        channel.exchange_declare(
            exchange.name,
            exchange_type=exchange.kind,
            durable=True,
            arguments=dict(exchange.arguments),
        )
    for queue in topology.queues:
        channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
    for binding in topology.bindings if with_bindings else ():
        if binding.is_to_exchange:
            channel.exchange_bind(binding.target, binding.source, routing_key=binding.key)
        else:
            channel.queue_bind(binding.target, binding.source, routing_key=binding.key)


def probe(channel: Any, topology: Topology) -> None:
    """Ask whether all exchanges and queues exist; the first that does not closes the channel."""
    for exchange in topology.exchanges:
        channel.exchange_declare(exchange.name, passive=True)
    for queue in topology.queues:
        channel.queue_declare(queue.name, passive=True)


def teardown(channel: Any, topology: Topology) -> None:
    """Delete all of it, messages included; what is not there is no error."""
    for queue in reversed(topology.queues):
        channel.queue_delete(queue.name)
    for exchange in reversed(topology.exchanges):
        channel.exchange_delete(exchange.name)


def diff(expected: Topology, actual: Topology) -> list[str]:
    """One sentence for each entity that is missing or has other arguments; extra ones are fine."""
    lines: list[str] = []
    for kind, wanted, found in (
        ("exchange", expected.exchanges, actual.exchanges),
        ("queue", expected.queues, actual.queues),
    ):
        have = {entity.name: entity for entity in found}
        for entity in wanted:
            other = have.get(entity.name)
            if other is None:
                lines.append(f"{kind} {entity.name!r} does not exist")
            elif other != entity:
                lines.append(f"{kind} {entity.name!r} is {_traits(other)}, not {_traits(entity)}")
    bound = set(actual.bindings)
    lines += [
        f"{binding.target!r} is not bound to {binding.source!r} by {binding.key!r}"
        for binding in expected.bindings
        if binding not in bound
    ]
    return lines


def _quorum_arguments() -> dict[str, Any]:
    # At-least-once without reject-publish is accepted and silently falls back to at-most-once.
    return {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


def _traits(entity: Exchange | Queue) -> str:
    traits = dict(entity.arguments)
    if isinstance(entity, Exchange):
        traits["type"] = entity.kind
    return ", ".join(f"{key}={value!r}" for key, value in sorted(traits.items())) or "plain"
