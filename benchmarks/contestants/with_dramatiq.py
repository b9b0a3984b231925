"""Dramatiq: default middleware, late acks (its only way), results in Redis where asked."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import AsyncIO
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.contestants.run import PADDING, Run
from benchmarks.contestants.sender import Sender, serve

run = Run.from_environment()
ledger = run.open_ledger()


class EvenBroker(RabbitmqBroker):
    """Dramatiq's broker, with the queue arguments that all contestants share."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, Any]:
        own: dict[str, Any] = super()._build_queue_arguments(queue_name)  # type: ignore[no-untyped-call]
        return {**own, **run.queue_arguments}


broker = EvenBroker(url=run.amqp_url, confirm_delivery=run.confirm)
broker.add_middleware(AsyncIO())
if run.results:
    backend = RedisBackend(url=run.redis_url)
    broker.add_middleware(Results(backend=backend, store_results=True))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=run.queues[0])
def noop(number: int, _text: str) -> int:
    """Do nothing but be seen."""
    ledger.mark(number)
    return number


@dramatiq.actor(queue_name=run.queues[0])
async def async_noop(number: int, _text: str) -> int:
    """Do nothing but be seen, on the event loop."""
    ledger.mark(number)
    return number


@dramatiq.actor(queue_name=run.queues[0])
def nap(number: int, _text: str, seconds: float) -> None:
    """Wait on a thread of its own."""
    time.sleep(seconds)
    ledger.mark(number)


@dramatiq.actor(queue_name=run.queues[0])
async def async_nap(number: int, _text: str, seconds: float) -> None:
    """Wait on the event loop."""
    await asyncio.sleep(seconds)
    ledger.mark(number)


@dramatiq.actor(queue_name=run.queues[0])
async def hold(number: int, _text: str, seconds: float) -> None:
    """Be seen, then wait on the event loop."""
    ledger.mark(number)
    await asyncio.sleep(seconds)


@dramatiq.actor(queue_name=run.queues[0])
def relay(number: int, text: str, queue: str) -> None:
    """Send a no-op to another queue from inside a worker's thread."""
    noop.send_with_options(args=(number, text), queue_name=queue)
    time.sleep(0.05)


for queue in run.queues:
    broker.declare_queue(queue)


class DramatiqSender(Sender):
    """Sends through Dramatiq."""

    def send(self, task: str, *args: Any) -> Any:  # noqa: D102 - as in the contract
        return broker.get_actor(task).send(*args)

    def result(self, sent: Any) -> Any:  # noqa: D102 - as in the contract
        return sent.get_result(block=True, timeout=10_000)

    def send_delayed(self, queue: str, number: int, delay_s: float) -> None:  # noqa: D102 - as in the contract
        message = noop.message(number, PADDING).copy(queue_name=queue)
        broker.enqueue(message, delay=int(delay_s * 1000))


if __name__ == "__main__":
    serve(DramatiqSender())
