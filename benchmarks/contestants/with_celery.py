"""Celery: late acks, publisher confirms, results in Redis where asked."""

# Celery is installed only in its own environment, never in the one that checks types.
# mypy: disable-error-code="import-not-found, misc, untyped-decorator"

from __future__ import annotations

import time
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from benchmarks.contestants.run import PADDING, Run
from benchmarks.contestants.sender import Sender, serve

run = Run.from_environment()
ledger = run.open_ledger()

app = Celery("bench", broker=run.amqp_url, backend=run.redis_url if run.results else None)
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": run.confirm},
    task_acks_late=True,
    task_default_queue=run.queues[0],
    task_default_exchange=run.queues[0],
    task_default_routing_key=run.queues[0],
    task_ignore_result=not run.results,
    task_queues=[
        Queue(name, Exchange(name), routing_key=name, queue_arguments=run.queue_arguments)
        for name in run.queues
    ],
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
)


@app.task(name="noop")
def noop(number: int, _text: str) -> int:
    """Do nothing but be seen."""
    ledger.mark(number)
    return number


@app.task(name="nap")
def nap(number: int, _text: str, seconds: float) -> None:
    """Wait on a thread or greenlet of its own."""
    time.sleep(seconds)
    ledger.mark(number)


@app.task(name="relay")
def relay(number: int, text: str, queue: str) -> None:
    """Send a no-op to another queue from inside a worker's thread."""
    noop.apply_async((number, text), queue=queue)
    time.sleep(0.05)


class CelerySender(Sender):
    """Sends through Celery."""

    def send(self, task: str, *args: Any) -> Any:  # noqa: D102 - as in the contract
        return app.tasks[task].apply_async(args)

    def result(self, sent: Any) -> Any:  # noqa: D102 - as in the contract
        return sent.get(timeout=10)

    def send_delayed(self, queue: str, number: int, delay_s: float) -> None:  # noqa: D102 - as in the contract
        noop.apply_async((number, PADDING), queue=queue, countdown=delay_s)


if __name__ == "__main__":
    serve(CelerySender())
