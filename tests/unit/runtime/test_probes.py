from __future__ import annotations

import http.client
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cifra_jobs.errors import ConfigError
from cifra_jobs.runtime.probes import Probes

SLOT = {
    "worker": "default",
    "index": 0,
    "queues": ["default"],
    "slots": 4,
    "pid": 1,
    "is_up": True,
    "is_connected": True,
    "restarts": 1,
    "running": 2,
    "rss": 1000,
    "counts": {"success": 5},
}


class Served:
    """Probes over a status that a test changes."""

    def __init__(self) -> None:
        self.status: list[dict[str, Any]] = [dict(SLOT), {**SLOT, "index": 1, "restarts": 0}]
        self.is_stopping = False
        self.probes = Probes(
            "127.0.0.1", [0], status=lambda: self.status, is_stopping=lambda: self.is_stopping
        )
        self.probes.start()

    def get(self, path: str) -> tuple[int, str]:
        client = http.client.HTTPConnection("127.0.0.1", self.probes.ports[0], timeout=10)
        client.request("GET", path)
        answer = client.getresponse()
        text = answer.read().decode()
        client.close()
        return answer.status, text


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.probes.stop()


def test_all_is_well(served: Served) -> None:
    assert served.get("/healthz") == (200, "ok\n")
    assert served.get("/readyz?verbose") == (200, "ready\n")
    assert served.get("/elsewhere")[0] == 404


def test_a_worker_without_its_broker_lives_and_is_not_ready(served: Served) -> None:
    served.status[1]["is_connected"] = False
    assert served.get("/healthz")[0] == 200
    assert served.get("/readyz") == (503, "not ready: default[1] is not connected to the broker\n")


def test_a_draining_worker_is_not_ready(served: Served) -> None:
    served.is_stopping = True
    assert served.get("/readyz") == (503, "not ready: stopping\n")


def test_metrics_sum_the_processes_of_a_worker_up(served: Served) -> None:
    status, text = served.get("/metrics")
    assert status == 200
    assert 'cifra_worker_processes_up{worker="default"} 2.0' in text
    assert 'cifra_tasks_running{worker="default"} 4.0' in text
    assert 'cifra_tasks_total{state="success",worker="default"} 10.0' in text
    assert 'cifra_worker_restarts_total{worker="default"} 1.0' in text


def test_a_probe_takes_less_than_five_milliseconds(served: Served) -> None:
    served.get("/metrics")
    took = []
    for _ in range(21):
        before = time.perf_counter()
        served.get("/readyz")
        took.append(time.perf_counter() - before)
    assert sorted(took)[10] < 0.005


def test_a_taken_port_is_an_error_that_names_the_holder() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        probes = Probes("127.0.0.1", [port], status=list, is_stopping=lambda: False)
        with pytest.raises(ConfigError, match=rf"Port {port} .* \(pid {os.getpid()}\)"):
            probes.start()
