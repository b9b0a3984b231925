"""Cifra Jobs: confirms, late acks and state always on; results stored where asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from time import monotonic, perf_counter, process_time
from typing import Any

import cifra_jobs
from benchmarks.contestants.run import PADDING, Run
from benchmarks.contestants.sender import Sender, serve

run = Run.from_environment()
ledger = run.open_ledger()
on_run_queue = cifra_jobs.task(queue=run.queues[0], store_result=run.results)


@on_run_queue
def noop(number: int, _text: str) -> int:
    """Do nothing but be seen."""
    ledger.mark(number)
    return number


@on_run_queue
async def async_noop(number: int, _text: str) -> int:
    """Do nothing but be seen, on the event loop."""
    ledger.mark(number)
    return number


@on_run_queue
async def async_nap(number: int, _text: str, seconds: float) -> None:
    """Wait on the event loop."""
    await asyncio.sleep(seconds)
    ledger.mark(number)


@on_run_queue
async def hold(number: int, _text: str, seconds: float) -> None:
    """Be seen, then wait on the event loop."""
    ledger.mark(number)
    await asyncio.sleep(seconds)


@on_run_queue
def relay(number: int, text: str, queue: str) -> None:
    """Send a no-op to another queue from inside a worker's thread."""
    noop.apply_async((number, text), queue=queue)
    time.sleep(0.05)


TASKS: dict[str, Any] = {
    each.actor_name: each for each in (noop, async_noop, async_nap, hold, relay)
}


class CifraSender(Sender):
    """Sends through Cifra Jobs."""

    def send(self, task: str, *args: Any) -> Any:  # noqa: D102 - as in the contract
        return TASKS[task].delay(*args)

    def result(self, sent: Any) -> Any:  # noqa: D102 - as in the contract
        return sent.result(timeout=10)

    def send_delayed(self, queue: str, number: int, delay_s: float) -> None:  # noqa: D102 - as in the contract
        noop.apply_async((number, PADDING), queue=queue, countdown=delay_s)

    def load(self, task: str, first: int, count: int, *args: Any) -> None:
        """Fill the queue in one batch; not part of any figure."""
        numbers = range(first, first + count)
        cifra_jobs.send_many([TASKS[task].s(number, PADDING, *args) for number in numbers])

    def enqueue_loop(self, task: str, count: int) -> dict[str, float]:
        """One blocking `send` after the other."""
        elapsed, used = perf_counter(), process_time()
        for number in range(count):
            TASKS[task].send(number, PADDING)
        return {"elapsed_s": perf_counter() - elapsed, "sender_s": process_time() - used}

    def enqueue_batch(self, task: str, count: int) -> dict[str, float]:
        """One `send_many`, the making of its calls included."""
        elapsed, used = perf_counter(), process_time()
        self.load(task, 0, count)
        return {"elapsed_s": perf_counter() - elapsed, "sender_s": process_time() - used}

    def enqueue_coroutines(self, task: str, count: int, at_once: int) -> dict[str, float]:
        """`at_once` coroutines, each awaiting the confirm of its sends one after the other."""

        async def client(numbers: range) -> None:
            for number in numbers:
                await TASKS[task].delay(number, PADDING)

        async def clients() -> None:
            await asyncio.gather(*(client(range(i, count, at_once)) for i in range(at_once)))

        elapsed, used = perf_counter(), process_time()
        asyncio.run(clients())
        return {"elapsed_s": perf_counter() - elapsed, "sender_s": process_time() - used}

    def at_once(self, task: str, first: int, count: int, clients: int) -> float:
        """As in the contract, with a coroutine for each client."""
        numbers = [range(first + i, first + count, clients) for i in range(clients)]

        async def client(mine: range) -> None:
            for number in mine:
                await TASKS[task].apply(number, PADDING)

        async def all_clients() -> float:
            await asyncio.gather(*(client(mine[:1]) for mine in numbers))
            begin = perf_counter()
            await asyncio.gather(*(client(mine[1:]) for mine in numbers))
            return perf_counter() - begin

        return (count - clients) / asyncio.run(all_clients())

    def delays(self, first: int, delays_s: list[float]) -> dict[str, list[float]]:
        """As in the contract, in one batch; each is due from the moment its call is made."""
        begin, due = monotonic(), []

        def calls() -> Iterator[Any]:
            for index, delay_s in enumerate(delays_s):
                due.append(monotonic() + delay_s)
                yield noop.s(first + index, PADDING).set(countdown=delay_s)

        cifra_jobs.send_many(calls())
        return {"due": due, "took": [monotonic() - begin]}


if __name__ == "__main__":
    serve(CifraSender())
