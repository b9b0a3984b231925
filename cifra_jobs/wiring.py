"""Settings to open parts: which make of broker and store a deployment uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifra_jobs.brokers.memory import MemoryTransport
from cifra_jobs.store.memory import MemoryStore

if TYPE_CHECKING:
    from cifra_jobs.brokers.base import Transport
    from cifra_jobs.config import Settings
    from cifra_jobs.store.base import StateStore

__all__ = ["open_store", "open_transport"]


def open_transport(settings: Settings, name: str) -> Transport:
    """The transport that the settings name; connects when it is first used."""
    if settings.broker.type == "memory":
        return MemoryTransport(
            namespace=settings.namespace, queues=settings.queues, topology=settings.topology
        )
    # Imported here: an application on the memory broker need not load pika.
    from cifra_jobs.brokers.rabbitmq.topology import QueueSpec
    from cifra_jobs.brokers.rabbitmq.transport import RabbitmqTransport

    return RabbitmqTransport(
        settings.broker.url,
        namespace=settings.namespace,
        queues={
            queue: QueueSpec(chosen.type, chosen.priorities)
            for queue, chosen in settings.queues.items()
        },
        topology=settings.topology,
        window=settings.broker.window,
        heartbeat_s=round(settings.broker.heartbeat),
        name=name,
    )


def open_store(settings: Settings, name: str) -> StateStore:
    """The store that the settings name; connects when it is first used."""
    backend = settings.result_backend
    if backend.type == "memory":
        return MemoryStore()
    from cifra_jobs.store.redis import RedisStore

    return RedisStore(backend.url, namespace=settings.namespace, name=name)
