"""Background jobs for Python services: Dramatiq's actors over RabbitMQ, state in Redis.

Importing it opens no connection and reads no file. The shortest program::

    from cifra_jobs import task

    @task
    async def send_email(to: str, subject: str) -> None: ...

    await send_email.delay("user@example.com", "Welcome")

General layout, from the bottom: ``errors``, ``clock``, ``codec``, ``config``, ``log`` state facts;
``jobs`` is the vocabulary; ``store`` and ``brokers`` are the doors to Redis and RabbitMQ;
``middleware`` decides; ``app`` wires; ``runtime`` acts; ``web`` and ``cli`` are doors for people.
"""

from cifra_jobs.app import App, configure, current_app
from cifra_jobs.errors import (
    ArgumentError,
    BrokerUnavailable,
    CifraError,
    ConfigError,
    Ignore,
    NotYetBuilt,
    OptionError,
    ParentFailed,
    Reject,
    RemoteError,
    ResultExpired,
    ResultTooLarge,
    SoftTimeout,
    StoreUnavailable,
    TaskExpired,
    TaskFailed,
    TaskNotFound,
    TaskRetry,
    TaskRevoked,
    TaskSkipped,
    TaskTimeout,
    UnknownQueue,
    WaitTimeout,
    WorkerLost,
    WouldDeadlock,
)
from cifra_jobs.jobs.current import current_task
from cifra_jobs.jobs.handle import TaskHandle, TaskStatus
from cifra_jobs.jobs.later import chain, chord, group, rate_limit, scheduled_task, task_monitor
from cifra_jobs.jobs.lifespan import worker_lifespan
from cifra_jobs.jobs.sending import asend_many, send_many
from cifra_jobs.jobs.signatures import Signature, signature
from cifra_jobs.jobs.tasks import Task, task

__version__ = "0.1.0"

__all__ = [
    "App",
    "ArgumentError",
    "BrokerUnavailable",
    "CifraError",
    "ConfigError",
    "Ignore",
    "NotYetBuilt",
    "OptionError",
    "ParentFailed",
    "Reject",
    "RemoteError",
    "ResultExpired",
    "ResultTooLarge",
    "Signature",
    "SoftTimeout",
    "StoreUnavailable",
    "Task",
    "TaskExpired",
    "TaskFailed",
    "TaskHandle",
    "TaskNotFound",
    "TaskRetry",
    "TaskRevoked",
    "TaskSkipped",
    "TaskStatus",
    "TaskTimeout",
    "UnknownQueue",
    "WaitTimeout",
    "WorkerLost",
    "WouldDeadlock",
    "asend_many",
    "chain",
    "chord",
    "configure",
    "current_app",
    "current_task",
    "group",
    "rate_limit",
    "scheduled_task",
    "send_many",
    "signature",
    "task",
    "task_monitor",
    "worker_lifespan",
]
