"""RabbitMQ and Redis for development, tests and demonstrations: found, or started as children."""

from __future__ import annotations

from cifra_jobs.dev.discovery import Servers, find_servers
from cifra_jobs.dev.rabbitmq import PrivateRabbitmq
from cifra_jobs.dev.redis import PrivateRedis
from cifra_jobs.dev.server import PrivateServer

__all__ = ["PrivateRabbitmq", "PrivateRedis", "PrivateServer", "Servers", "find_servers"]
