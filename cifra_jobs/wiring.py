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


def open_transport(settings: Settings) -> Transport:
    """The transport that the settings name; connects when it is first used."""
    if settings.broker.type == "memory":
        return MemoryTransport(namespace=settings.namespace)
    # Imported here: an application on the memory broker need not load pika.
    from cifra_jobs.brokers.rabbitmq.transport import RabbitmqTransport

    return RabbitmqTransport(settings.broker.url, namespace=settings.namespace)


def open_store(settings: Settings) -> StateStore:
    """The store that the settings name; connects when it is first used."""
    backend = settings.result_backend
    if backend.type == "memory":
        return MemoryStore()
    from cifra_jobs.store.redis import RedisStore

    return RedisStore(backend.url, namespace=settings.namespace)
