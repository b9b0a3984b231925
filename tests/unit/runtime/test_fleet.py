from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cifra_jobs.config import Settings, WorkerEntry
from cifra_jobs.errors import ConfigError
from cifra_jobs.runtime.banner import ready_panel, show_banner
from cifra_jobs.runtime.children import Child, ChildSpec
from cifra_jobs.runtime.fleet import plan
from cifra_jobs.runtime.wire import Line


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    return Settings(broker={"url": "amqp://bob:s3cret@rabbit.example:5672/shop"})


def test_concurrency_is_the_total_over_the_processes(settings: Settings) -> None:
    specs = plan(
        settings,
        {"io": WorkerEntry(queues=["io"], concurrency=10, processes=3)},
        modules=["shop"],
    )
    assert [spec.concurrency for spec in specs] == [4, 3, 3]
    assert [spec.name for spec in specs] == ["io[0]", "io[1]", "io[2]"]
    assert specs[0].modules == ("shop",)


def test_mode_processes_means_children_of_one_slot_replaced_early(settings: Settings) -> None:
    entry = WorkerEntry(queues=["cpu"], concurrency=2, mode="processes", max_tasks_per_child=100)
    specs = plan(settings, {"cpu": entry}, modules=[])
    assert [(s.concurrency, s.is_replaced_early, s.max_tasks) for s in specs] == [
        (1, True, 100),
        (1, True, 100),
    ]


def test_a_memory_broker_is_refused_because_processes_cannot_share_it() -> None:
    settings = Settings(broker={"type": "memory"})
    with pytest.raises(ConfigError, match="cifra dev --memory"):
        plan(settings, {"w": WorkerEntry(queues=["default"])}, modules=[])


def test_what_a_child_is_to_be_survives_the_line() -> None:
    spec = ChildSpec("w", 1, ("a", "b"), 3, max_memory=512, overrides={"x": {"y": 1}})
    note = {"kind": "boot", **spec.__dict__}
    assert ChildSpec.from_note(note) == spec


def test_the_banner_tells_servers_queues_and_tasks_and_no_password(settings: Settings) -> None:
    child = _child(ChildSpec("default", 0, ("default", "bulk"), 4))
    child.about = {
        "tasks": {"default": ["import_contacts", "send_mail"], "bulk": []},
        "servers": {"broker.product": "RabbitMQ", "broker.version": "3.10.8"},
    }
    text = _render(child, settings)
    assert "RabbitMQ 3.10.8 at amqp://bob:***@rabbit.example:5672/shop" in text
    assert "Redis at redis://127.0.0.1:6379/0, away for now" in text
    assert "import_contacts, send_mail" in text
    assert "no task is declared for this queue" in text
    assert "s3cret" not in text


def test_a_log_warns_of_queues_that_no_task_is_declared_for(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    child = _child(ChildSpec("default", 0, ("defualt", "mail"), 4))
    child.about = {"tasks": {"mail": ["send_mail"]}}
    with caplog.at_level("WARNING"):
        show_banner([child], settings, io.StringIO())
    (warning,) = (record.msg for record in caplog.records)
    assert isinstance(warning, dict)
    assert warning["event"] == "no task is declared for some queues"
    assert warning["queues"] == ["defualt"]


def _child(spec: ChildSpec) -> Child:
    import socket

    ours, theirs = socket.socketpair()
    theirs.close()
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    line = Line(ours)
    line.close()
    return Child(spec, process, line, -1)


def _render(child: Child, settings: Settings) -> str:
    out = io.StringIO()
    Console(file=out, width=100, no_color=True).print(ready_panel([child], settings))
    return out.getvalue()
