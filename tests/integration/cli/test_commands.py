"""The commands as processes of their own, against RabbitMQ, Redis and a worker."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from cifra_jobs.dev.discovery import FoundServer

TASKS = """
from cifra_jobs import TaskFailed, current_task, task


@task
async def add(a: int, b: int) -> int:
    return a + b


@task(queue="files")
def copy_rows(count: int) -> dict[str, int]:
    for row in range(count):
        current_task.update_progress((row + 1) / count * 100, f"{row + 1} of {count}")
    return {"copied": count}


@task(retry=0)
def refuse() -> None:
    raise TaskFailed("no money", retry=False)
"""


@dataclass
class Process:
    """A long-running command and what it says."""

    popen: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)
    listener: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        assert self.popen.stderr is not None
        with self.popen.stderr as said:
            for line in said:
                with self.news:
                    self.lines.append(line)
                    self.news.notify_all()
        with self.news:
            self.news.notify_all()

    def end(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        code = self.popen.wait(40)
        self.listener.join(10)
        return code

    def await_line(self, pattern: str, timeout: float = 40) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            return next(filter(None, (re.search(pattern, line) for line in self.lines)), None)

        with self.news:
            self.news.wait_for(lambda: found() or self.popen.poll() is not None, timeout)
            match = found()
        assert match, f"{pattern!r} was not said:\n{''.join(self.lines)}"
        return match


@dataclass
class Place:
    """A project folder with tasks, and the servers."""

    folder: Path
    env: dict[str, str]
    started: list[Process] = field(default_factory=list)

    def cifra(self, *words: str, code: int = 0, typed: str | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cifra_jobs", *words],
            cwd=self.folder,
            env=self.env,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def start(self, *words: str) -> Process:
        process = Process(
            subprocess.Popen(
                [sys.executable, "-m", "cifra_jobs", *words],
                cwd=self.folder,
                env=self.env,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        self.started.append(process)
        return process

    def stop(self, process: Process) -> int:
        self.started.remove(process)
        return process.end()


@pytest.fixture
def place(
    rabbitmq_server: FoundServer, redis_server: FoundServer, tmp_path: Path
) -> Iterator[Place]:
    (tmp_path / "shop.py").write_text(TASKS)
    env = {key: value for key, value in os.environ.items() if not key.startswith("CIFRA_")}
    env |= {
        "RABBITMQ_URL": rabbitmq_server.url,
        "REDIS_URL": redis_server.url,
        "CIFRA_INCLUDE": "shop",
        "CIFRA_NAMESPACE": f"cli-{uuid.uuid4().hex[:8]}",
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    made = Place(tmp_path, env)
    yield made
    for process in list(made.started):
        made.stop(process)


@pytest.fixture
def worker(place: Place) -> Process:
    process = place.start("worker", "start", "--queue", "default", "--queue", "files")
    process.await_line("worker is ready")
    return process


def test_a_task_is_sent_followed_and_its_result_printed(place: Place, worker: Process) -> None:
    assert place.cifra("task", "send", "add", "--args", "[2, 3]", "--wait").strip() == "5"
    told = place.cifra("task", "send", "copy_rows", "--kwargs", '{"count": 3}', "--wait", "--json")
    facts = json.loads(told)
    assert (facts["result"], facts["progress"], facts["queue"]) == ({"copied": 3}, 100, "files")
    assert json.loads(place.cifra("task", "status", facts["id"], "--json")) == facts
    assert json.loads(place.cifra("task", "result", facts["id"])) == {"copied": 3}
    assert "no money" in place.cifra("task", "send", "refuse", "--wait", code=1)
    assert place.stop(worker) == 0


def test_a_wrong_call_is_refused_before_anything_is_sent(place: Place) -> None:
    assert "did you mean 'add'" in place.cifra("task", "send", "ad", code=1)
    assert "'b'" in place.cifra("task", "send", "add", "--args", "[1]", code=1)
    place.cifra("queue", "declare")
    assert "nowhere" in place.cifra(
        "task", "send", "add", "--args", "[1, 2]", "--queue", "nowhere", code=1
    )


def test_a_delayed_task_is_revoked_without_any_worker(place: Place) -> None:
    task_id = place.cifra("task", "send", "add", "--args", "[1, 2]", "--delay", "600").strip()
    assert "scheduled" in place.cifra("task", "status", task_id)
    assert "it is scheduled" in place.cifra("task", "result", task_id, code=1)
    place.cifra("task", "revoke", task_id)
    assert "revoked" in place.cifra("task", "result", task_id, code=1)
    assert "already ended" in place.cifra("task", "revoke", task_id, code=1)
    assert "nobody" in place.cifra("task", "status", "nobody", code=1)


def test_queues_are_verified_declared_listed_and_purged(place: Place) -> None:
    assert "files" in place.cifra("queue", "verify", code=1)
    assert "default, files" in place.cifra("queue", "declare")
    assert "as declared" in place.cifra("queue", "verify")
    for _ in range(2):
        place.cifra("task", "send", "add", "--args", "[1, 2]")
    rows = {row["queue"]: row for row in json.loads(place.cifra("queue", "list", "--json"))}
    assert rows["default"]["ready"] == 2
    refused = place.cifra("queue", "purge", "default", typed="defualt\n", code=1)
    assert "nothing was dropped" in refused
    assert "dropped 2 messages" in place.cifra("queue", "purge", "default", typed="default\n")
    assert "dropped 0" in place.cifra("queue", "purge", "default", "--yes")
    assert "`cifra queue declare none_such`" in place.cifra(
        "queue", "purge", "none_such", "--yes", code=1
    )


def test_the_doctor_finds_nothing_here_and_says_what_is_wrong_elsewhere(place: Place) -> None:
    place.cifra("queue", "declare")
    healthy = {check["name"]: check for check in json.loads(place.cifra("doctor", "--json"))}
    assert {"broker", "topology", "publishing", "store", "clock", "tasks"} <= healthy.keys()
    place.env |= {
        "RABBITMQ_URL": "amqp://u:hush@127.0.0.1:1",
        "REDIS_URL": "redis://:hush@127.0.0.1:1",
        "CIFRA_INCLUDE": "shopp",
    }
    said = place.cifra("doctor", "--json", code=1)
    bad = {check["name"] for check in json.loads(said) if check["is_good"] is False}
    assert {"broker", "store", "tasks"} <= bad
    assert "hush" not in said


def test_servers_that_are_away_are_one_sentence(place: Place) -> None:
    place.env |= {"RABBITMQ_URL": "amqp://u:hush@127.0.0.1:1", "CIFRA_PUBLISH_TIMEOUT": "1"}
    said = place.cifra("queue", "list", code=1)
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    assert "hush" not in said


def test_all_workers_of_a_file_start_with_the_web_server_beside_them(place: Place) -> None:
    (place.folder / "config.yaml").write_text(
        "background_jobs: {monitoring: {flower: {enabled: true, port: 0, public_status: true}}}"
    )
    (place.folder / "worker_config.yaml").write_text(
        "workers: {one: {queues: [default]}, two: {queues: [files], concurrency: 2}}"
    )
    process = place.start("worker", "start", "--config", "worker_config.yaml", "--all")
    process.await_line("worker is ready")
    url = process.await_line(r"(http://127\.0\.0\.1:\d+)/")[1]
    task_id = place.cifra("task", "send", "copy_rows", "--args", "[2]").strip()
    with httpx.stream("GET", f"{url}/api/tasks/{task_id}/events", timeout=20) as answer:
        last = [line for line in answer.iter_lines() if line.startswith("data: ")][-1]
    assert json.loads(last.removeprefix("data: "))["result"] == {"copied": 2}
    assert httpx.get(f"{url}/").status_code == 401
    assert httpx.get(f"{url}/readyz").status_code == 200
    assert place.stop(process) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


def test_a_taken_port_names_its_holder(place: Place) -> None:
    first = place.start("flower", "start", "--port", "0")
    port = first.await_line(r"http://127\.0\.0\.1:(\d+)/\?token=")[1]
    said = place.cifra("flower", "start", "--port", port, code=1)
    assert f"port {port}" in said
    assert "python" in said
    said = place.cifra("dev", "--port", port, code=1)
    assert said.startswith(f"Error: port {port}")
    assert place.stop(first) == 0


def followed(url: str, task_id: str) -> list[dict[str, Any]]:
    with httpx.stream("GET", f"{url}/api/tasks/{task_id}/events", timeout=20) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("words", [[], ["--memory"]], ids=["servers", "memory"])
def test_dev_is_worker_and_api_in_one_terminal(place: Place, words: list[str]) -> None:
    process = place.start("dev", "--port", "0", *words)
    send: Callable[[str], str]
    if words:
        url = process.await_line(r"API at (http://\S+?);")[1]

        def send(name: str) -> str:
            answer = httpx.post(f"{url}/api/tasks", json={"name": name, "args": [3]})
            return str(answer.json()["id"])
    else:
        process.await_line("worker is ready")
        url = process.await_line(r"status of tasks: (http://[^/]+)/")[1]

        def send(name: str) -> str:
            return place.cifra("task", "send", name, "--args", "[3]").strip()

    assert followed(url, send("copy_rows"))[-1]["result"] == {"copied": 3}
    assert place.stop(process) == 0
