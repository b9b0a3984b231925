"""The sending side of a contestant: one request a line in, one answer a line out."""

from __future__ import annotations

import json
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, perf_counter, process_time
from typing import Any

from benchmarks.contestants.run import PADDING, Run


class Sender(ABC):
    """Sends tasks by name; subclasses say how one contestant does it."""

    @abstractmethod
    def send(self, task: str, *args: Any) -> Any:
        """Send one task, blocking as `Run.confirm` says; returns what `result` waits for."""

    @abstractmethod
    def result(self, sent: Any) -> Any:
        """Block until the result of a sent task is here."""

    @abstractmethod
    def send_delayed(self, queue: str, number: int, delay_s: float) -> None:
        """Send a no-op to `queue`, to be run after `delay_s` seconds."""

    def load(self, task: str, first: int, count: int, *args: Any) -> None:
        """Fill the queue; not part of any figure."""
        for number in range(first, first + count):
            self.send(task, number, PADDING, *args)

    def enqueue_loop(self, task: str, count: int) -> dict[str, float]:
        """One blocking send after the other."""
        elapsed, used = perf_counter(), process_time()
        self.load(task, 0, count)
        return {"elapsed_s": perf_counter() - elapsed, "sender_s": process_time() - used}

    def steady(self, task: str, first: int, count: int, per_second: float) -> list[float]:
        """Send at an even pace; returns the moment before each send."""
        pace = threading.Event()
        sent = []
        begin = monotonic()
        for index in range(count):
            pace.wait(max(0.0, begin + index / per_second - monotonic()))
            sent.append(monotonic())
            self.send(task, first + index, PADDING)
        return sent

    def round_trips(self, task: str, first: int, count: int) -> list[float]:
        """Seconds from before the send to the result in hand, one after the other."""
        spans = []
        for number in range(first, first + count):
            begin = perf_counter()
            self.result(self.send(task, number, PADDING))
            spans.append(perf_counter() - begin)
        return spans

    def at_once(self, task: str, first: int, count: int, clients: int) -> float:
        """Round trips of many clients at once.

        Returns:
            Round trips a second, without the first of each client, which opens connections.
        """
        numbers = [range(first + i, first + count, clients) for i in range(clients)]
        is_warm = threading.Barrier(clients + 1)

        def client(mine: range) -> None:
            self.result(self.send(task, mine[0], PADDING))
            is_warm.wait()
            for number in mine[1:]:
                self.result(self.send(task, number, PADDING))

        with ThreadPoolExecutor(clients) as pool:
            trips = [pool.submit(client, mine) for mine in numbers]
            is_warm.wait(60)
            begin = perf_counter()
            for trip in trips:
                trip.result()
        return (count - clients) / (perf_counter() - begin)

    def delays(self, first: int, delays_s: list[float]) -> dict[str, list[float]]:
        """Send delayed no-ops; returns when each is due, and the seconds that sending took."""
        begin, due = monotonic(), []
        for index, delay_s in enumerate(delays_s):
            due.append(monotonic() + delay_s)
            self.send_delayed(Run.from_environment().queues[0], first + index, delay_s)
        return {"due": due, "took": [monotonic() - begin]}


def serve(sender: Sender) -> None:
    """Answer the harness until it closes the pipe."""
    replies, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"answer": getattr(sender, request["do"])(*request["args"])}
        except Exception:  # noqa: BLE001 - whatever went wrong belongs in the harness's error
            answer = {"error": traceback.format_exc()}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()
