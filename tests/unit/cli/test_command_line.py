"""The command line as a user types it: what is said, where, and the exit code."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from cifra_jobs import __version__
from cifra_jobs.cli import main
from cifra_jobs.cli.groups import LATER


@dataclass
class Said:
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in ("RABBITMQ_URL", "REDIS_URL", "CIFRA_CONFIG", "CIFRA_INCLUDE", "CIFRA_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)

    def type_in(*words: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            main(words)
        caught = capsys.readouterr()
        return Said(int(ended.value.code or 0), caught.out, caught.err)

    return type_in


def test_help_names_every_command_and_loads_none() -> None:
    code = (
        "import sys; from cifra_jobs.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print(sorted(m for m in sys.modules if m in "
        "('pika', 'redis', 'starlette')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    for name in ("worker", "task", "queue", "config", "doctor", "dev", "flower"):
        assert f"\n  {name} " in done.stdout
    assert done.stdout.endswith("[]\n")


def test_the_version_is_told(run: Run) -> None:
    assert __version__ in run("--version").out


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["wroker"], "worker"),
        (["worker", "strat"], "start"),
        (["queue", "puge", "x"], "purge"),
        (["config", "shwo"], "show"),
        (["worker", "start", "--qeue", "x"], "--queue"),
        (["config", "check", "--jsno"], "--json"),
    ],
)
def test_an_unknown_word_names_the_nearest(run: Run, words: list[str], nearest: str) -> None:
    said = run(*words)
    assert said.code == 2
    assert f"Did you mean '{nearest}'?" in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", ["declare", "verify", "purge"])
def test_what_cannot_be_a_queue_is_told_the_rule(run: Run, command: str) -> None:
    said = run("queue", command, "a.b")
    assert said.code == 1
    assert said.err.startswith("Error: 'a.b' cannot be a queue: its name must be 1 to 64 letters")


@pytest.mark.parametrize("words", LATER, ids=" ".join)
def test_a_command_of_a_later_release_is_refused_with_a_sentence(
    run: Run, words: tuple[str, ...]
) -> None:
    said = run(*words, "anything")
    assert said.code == 2
    assert "this release does not have" in said.err
    assert " ".join(words) in said.err


def test_an_error_is_one_sentence_on_standard_error_without_a_traceback(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("background_jobs: {broker: {type: redis}}")
    said = run("config", "check")
    assert said.code == 1
    assert said.out == ""
    assert said.err.startswith("Error: broker.type")
    assert "rabbitmq" in said.err
    assert "Traceback" not in said.err


def test_a_traceback_is_shown_to_whoever_asks(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("config", "check").code == 0
    monkeypatch.setenv("CIFRA_TRACEBACK", "1")
    (tmp_path / "config.yaml").write_text("background_jobs: {broker: {type: redis}}")
    with pytest.raises(Exception, match=r"broker\.type"):
        main(["config", "check"])


def test_config_check_says_what_was_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("background_jobs: {namespace: shop}")
    (tmp_path / "worker_config.yaml").write_text("workers: {mail: {queues: [mail]}}")
    said = run("config", "check")
    assert said.code == 0
    assert "config.yaml" in said.out
    assert "mail" in said.out
    told = json.loads(run("config", "check", "--json").out)
    assert told == {"ok": True, "file": "config.yaml", "workers": ["mail"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("background_jobs: {task_defaults: {timout: 5}}", "did you mean 'timeout'"),
        ("background_jobs: {task_routes: {send: {queue: a.b}}}", "task_routes.send"),
        ("background_jobs: {task_routes: {'send.*': {queue: a}}}", "not built yet"),
        ("background_jobs: {task_defaults: {unique: true}}", "'unique' needs"),
        ("workers: {mail: {queue: [mail]}}", "did you mean 'queues'"),
    ],
)
def test_config_check_refuses_options_and_workers_that_are_wrong(
    run: Run, tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "jobs.yaml").write_text(text)
    said = run("config", "check", "--config", "jobs.yaml")
    assert said.code in {1, 2}
    assert words in said.err


def test_the_file_may_be_named_before_or_after_the_command(run: Run, tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").write_text("background_jobs: {namespace: shop}")
    for words in (
        ("--config", "jobs.yaml", "config", "show", "--json"),
        ("config", "show", "--json", "--config", "jobs.yaml"),
    ):
        assert json.loads(run(*words).out)["namespace"] == "shop"


def test_a_worker_file_alone_leaves_the_settings_to_the_customary_place(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("background_jobs: {namespace: shop}")
    (tmp_path / "workers.yaml").write_text("workers: {mail: {queues: [mail]}}")
    said = run("config", "show", "--json", "--config", "workers.yaml")
    assert json.loads(said.out)["namespace"] == "shop"


def test_config_show_says_where_a_value_comes_from_and_hides_passwords(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("background_jobs: {retry: {max_retries: 7}}")
    monkeypatch.setenv("RABBITMQ_URL", "amqp://user:hush@host")
    said = run("config", "show")
    lines = {line.split("│")[1].strip(): line for line in said.out.splitlines() if "│" in line}
    assert "config.yaml" in lines["retry.max_retries"]
    assert "RABBITMQ_URL" in lines["broker.url"]
    assert "amqp://user:***@host" in lines["broker.url"]
    assert "default" in lines["namespace"]
    assert "hush" not in said.out + run("config", "show", "--json").out


def test_a_worker_start_says_what_is_missing(run: Run, tmp_path: Path) -> None:
    assert "--worker NAME, --all, or --queue" in run("worker", "start").err
    assert "no worker file" in run("worker", "start", "--all").err
    (tmp_path / "worker_config.yaml").write_text("workers: {default: {queues: [default]}}")
    assert "did you mean 'default'" in run("worker", "start", "--worker", "defualt").err
    assert "one worker" in run("worker", "start", "--all", "--concurrency", "3").err
    assert "No module of tasks" in run("worker", "start", "--all").err
    said = run("worker", "start", "--queue", "a", "--concurrency", "1", "--processes", "2")
    assert "cannot share" in said.err
    assert said.code == 1


def test_python_dash_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cifra_jobs", "--version"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert __version__ in done.stdout
