"""The private servers of one question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cifra_jobs.dev import PrivateRabbitmq, PrivateRedis


@dataclass(frozen=True)
class Servers:
    """RabbitMQ and Redis, on 127.0.0.1 only.

    Attributes:
        rabbitmq: Without the management plugin, whose statistics would count as broker CPU.
        redis: With an append-only file, as a deployment has it.
    """

    rabbitmq: PrivateRabbitmq
    redis: PrivateRedis


@contextmanager
def private_servers() -> Iterator[Servers]:
    """Start both servers, and stop them at the end."""
    with PrivateRabbitmq(plugins=()) as rabbitmq, PrivateRedis() as redis:
        yield Servers(rabbitmq, redis)
