"""Worker processes over RabbitMQ and Redis: death, drain, recycling."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import cifra_jobs
from cifra_jobs.testing.proxy import TcpProxy

PROGRAM = str(Path(__file__).with_name("worker_tasks.py"))


class Deployment:
    """Workers of a test's own namespace, and the ledger that its tasks write."""

    def __init__(self, folder: Path, rabbitmq_url: str, redis_url: str) -> None:
        self.folder = folder
        self._log = (folder / "log").open("ab")
        self._running: list[subprocess.Popen[bytes]] = []
        roots = [str(Path(cifra_jobs.__file__).parents[1]), str(Path(PROGRAM).parent)]
        self.environment = os.environ | {
            "LEDGER": str(folder),
            "RABBITMQ_URL": rabbitmq_url,
            "REDIS_URL": redis_url,
            "CIFRA_NAMESPACE": f"test-{os.urandom(4).hex()}",
            "PYTHONPATH": os.pathsep.join(roots),
        }

    def send(self, task: str, count: int) -> None:
        subprocess.run(
            [sys.executable, PROGRAM, task, str(count)],
            env=self.environment,
            cwd=self.folder,
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )

    def work(self, **entry: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, PROGRAM, "work", json.dumps(entry)],
            env=self.environment,
            cwd=self.folder,
            stdout=self._log,
            stderr=self._log,
        )
        self._running.append(process)
        return process

    def ledger(self, what: str) -> list[tuple[int, int]]:
        """Number and process id of each entry."""
        file = self.folder / "ledger"
        lines = file.read_text().splitlines() if file.exists() else []
        entries = [line.split() for line in lines]
        return [(int(number), int(pid)) for kind, number, pid, _ in entries if kind == what]

    def open_gate(self) -> None:
        (self.folder / "gate").touch()

    def until(self, claim: Callable[[], bool], what: str, seconds: float = 30) -> None:
        pause = threading.Event()
        for _ in range(int(seconds / 0.02)):
            if claim():
                return
            pause.wait(0.02)
        raise AssertionError(f"{what}; the log:\n{(self.folder / 'log').read_text()[-6000:]}")

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
        self._log.close()


@pytest.fixture
def deployment(tmp_path: Path, rabbitmq_server: Any, redis_server: Any) -> Iterator[Deployment]:
    made = Deployment(tmp_path, rabbitmq_server.url, redis_server.url)
    yield made
    made.close()


def test_a_task_whose_process_is_killed_runs_in_another(deployment: Deployment) -> None:
    worker = deployment.work(concurrency=2, processes=2)
    deployment.send("hold", 1)
    deployment.until(lambda: len(deployment.ledger("start")) == 1, "the task should start")
    victim = deployment.ledger("start")[0][1]
    os.kill(victim, signal.SIGKILL)
    deployment.until(lambda: len(deployment.ledger("start")) == 2, "another should run it", 15)
    deployment.open_gate()
    deployment.until(lambda: len(deployment.ledger("done")) == 1, "it should end")
    assert deployment.ledger("done")[0][1] != victim
    assert "killed by SIGKILL" in deployment.log()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0


def test_a_stop_under_load_loses_nothing_and_runs_nothing_twice(deployment: Deployment) -> None:
    deployment.send("nap", 300)
    for _ in range(3):
        before = len(deployment.ledger("done"))
        worker = deployment.work(concurrency=4, processes=2)
        deployment.until(
            lambda before=before: len(deployment.ledger("done")) > before + 20,  # type: ignore[misc]
            "it should work",
        )
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0, deployment.log()
    last = deployment.work(concurrency=8)
    deployment.until(lambda: len(set(deployment.ledger("done"))) >= 300, "all should end")
    last.send_signal(signal.SIGTERM)
    assert last.wait(30) == 0
    runs = Counter(number for number, _ in deployment.ledger("start"))
    assert runs == dict.fromkeys(range(300), 1)


def test_a_process_is_replaced_after_its_share_of_tasks(deployment: Deployment) -> None:
    deployment.send("nap", 60)
    worker = deployment.work(concurrency=2, max_tasks_per_child=10)
    deployment.until(lambda: len(deployment.ledger("done")) == 60, "all should end")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    per_process = Counter(pid for _, pid in deployment.ledger("start"))
    assert len(deployment.ledger("start")) == 60, "none ran twice"
    assert max(per_process.values()) <= 11, "what runs beside the tenth task ends as well"
    assert "died" not in deployment.log()


def test_mode_processes_replaces_a_child_before_its_end(deployment: Deployment) -> None:
    deployment.send("nap", 60)
    worker = deployment.work(concurrency=2, mode="processes", max_tasks_per_child=10)
    deployment.until(lambda: len(deployment.ledger("done")) == 60, "all should end")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    per_process = Counter(pid for _, pid in deployment.ledger("start"))
    assert len(deployment.ledger("start")) == 60
    assert max(per_process.values()) <= 10


def test_a_process_that_has_grown_too_large_is_replaced(deployment: Deployment) -> None:
    deployment.send("eat", 40)
    worker = deployment.work(concurrency=1, max_memory_per_child="150MB")
    deployment.until(lambda: len(deployment.ledger("done")) == 40, "all should end")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert len({pid for _, pid in deployment.ledger("done")}) > 1


@pytest.mark.parametrize("task", ["hold", "hold_async", "hold_in_c"])
def test_a_second_signal_gives_running_tasks_back(deployment: Deployment, task: str) -> None:
    worker = deployment.work(concurrency=1)
    deployment.send(task, 1)
    deployment.until(lambda: len(deployment.ledger("start")) == 1, "the task should start")
    worker.send_signal(signal.SIGINT)
    deployment.until(lambda: "stopping" in deployment.log(), "it should drain")
    worker.send_signal(signal.SIGINT)
    assert worker.wait(15) == 0, deployment.log()
    assert deployment.ledger("done") == []
    deployment.open_gate()
    again = deployment.work(concurrency=1)
    deployment.until(lambda: len(deployment.ledger("done")) == 1, "another should run it")
    again.send_signal(signal.SIGTERM)
    assert again.wait(30) == 0


def test_a_signal_shows_where_threads_and_coroutines_are(deployment: Deployment) -> None:
    worker = deployment.work(concurrency=2)
    deployment.send("hold_async", 1)
    deployment.until(lambda: len(deployment.ledger("start")) == 1, "the task should start")
    worker.send_signal(signal.SIGUSR1)
    deployment.until(
        lambda: "in hold_async" in deployment.log() and "cifra-orders" in deployment.log(),
        "threads and coroutines of the worker process should be in the log",
    )
    deployment.open_gate()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0


def test_a_worker_that_cannot_import_its_tasks_ends_with_one_sentence(
    deployment: Deployment,
) -> None:
    deployment.environment["BROKEN"] = "1"
    worker = deployment.work(concurrency=2, processes=2)
    assert worker.wait(30) == 1
    assert "worker_tasks cannot be imported: RuntimeError: broken on purpose" in deployment.log()


def test_a_worker_without_its_broker_lives_and_is_not_ready_until_it_is_back(
    deployment: Deployment,
) -> None:
    broker = urlsplit(deployment.environment["RABBITMQ_URL"])
    with TcpProxy(str(broker.hostname), broker.port or 5672) as network:
        login = f"{broker.username}:{broker.password}@{network.host}:{network.port}"
        deployment.environment["RABBITMQ_URL"] = broker._replace(netloc=login).geturl()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        deployment.environment["CIFRA_PROBES__PORT"] = str(port)
        worker = deployment.work(concurrency=1)
        deployment.until(lambda: _probe(port, "/readyz") == 200, "it should become ready")
        network.refuse()
        network.cut()
        deployment.until(lambda: _probe(port, "/readyz") == 503, "it should not be ready")
        assert _probe(port, "/healthz") == 200
        network.refuse(refuse=False)
        deployment.until(lambda: _probe(port, "/readyz") == 200, "it should be ready again", 10)
        children = _children_of(worker.pid)
        deployment.send("nap", 3)
        deployment.until(lambda: len(deployment.ledger("done")) == 3, "it should hear again")
        assert {pid for _, pid in deployment.ledger("done")} <= set(children)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0


def test_children_end_with_a_supervisor_that_was_killed(deployment: Deployment) -> None:
    worker = deployment.work(concurrency=2, processes=2)
    deployment.send("nap", 40)
    deployment.until(lambda: len(deployment.ledger("done")) == 40, "all should end")
    pids = _children_of(worker.pid)
    assert len(pids) == 3, "two workers, and the process that they were forked from"
    worker.kill()
    worker.wait()
    deployment.until(lambda: not any(map(_is_alive, pids)), "the children should end", 15)


def _probe(port: int, path: str) -> int:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        client.request("GET", path)
        return client.getresponse().status
    except OSError:
        return 0
    finally:
        client.close()


def _children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
