"""A real broker in one process: the same contract as RabbitMQ, without a server."""

from __future__ import annotations

from cifra_jobs.brokers.memory.transport import MemoryTransport

__all__ = ["MemoryTransport"]
