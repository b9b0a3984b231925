"""A task that kills its worker processes is stopped, however fast it does so."""

from __future__ import annotations

import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import dramatiq
import pika
import pytest

from cifra_jobs import App
from cifra_jobs.brokers.rabbitmq import topology
from cifra_jobs.config import Settings
from cifra_jobs.store.base import Gone
from tests.integration.runtime import deadly

if TYPE_CHECKING:
    from collections.abc import Iterator

#: One death that nobody could note, and those after which it is not run again.
MOST_DEATHS = 1 + 3


@pytest.fixture
def app(rabbitmq_server: Any, redis_server: Any) -> Iterator[App]:
    """The sender's app."""
    app = App(
        Settings(
            None,
            namespace=f"deadly-{secrets.token_hex(3)}",
            broker={"type": "rabbitmq", "url": rabbitmq_server.url},
            result_backend={"type": "redis", "url": redis_server.url},
        )
    )
    yield app
    namespace = app.settings.namespace
    app.close()
    mine = topology.shared_part(namespace)
    mine += topology.queue_part(namespace, "deadly", topology.QueueSpec())
    connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_server.url))
    topology.teardown(connection.channel(), mine)
    connection.close()


def test_a_task_that_exits_in_its_first_line_is_parked_after_a_few_deaths(
    app: App, rabbitmq_server: Any, redis_server: Any
) -> None:
    app.broker.declare_queue("deadly")
    message: dramatiq.Message[Any] = dramatiq.Message("deadly", "deadly", (), {}, {})
    app.broker.enqueue(message)
    ended = app.final_record(message.message_id)
    deaths = 0
    while not ended.done():
        assert deaths <= MOST_DEATHS
        deaths += run_one(app, rabbitmq_server.url, redis_server.url, ended)
    assert deaths == MOST_DEATHS
    error = ended.result().error
    assert error is not None
    assert "died 3 times" in error


def run_one(app: App, broker: str, redis: str, ended: Any) -> int:
    """Run a worker until it dies or the task has ended; how many deaths that was."""
    command = [sys.executable, "-m", deadly.__name__, broker, redis, app.settings.namespace]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        assert it.stdin is not None
        assert it.stdout is not None
        worker_id = it.stdout.readline().strip()
        ended.add_done_callback(lambda _: it.stdin.close())
        code = it.wait(30)
    # As the supervisor does when a child is gone.
    app.commit.call([Gone(worker_id)], 5)
    return int(code != 0)
