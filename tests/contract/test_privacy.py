"""``sensitive`` arguments are masked in logs, in dead letters and in what a status shows."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from cifra_jobs import TaskHandle, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Ledger, TestApp

SECRET = "hunter2-'quoted'"


def told(app: TestApp, handle: TaskHandle[Any], caplog: pytest.LogCaptureFixture) -> str:
    """Everything that people see of a task."""
    handle.wait_sync(10)
    texts = [json.dumps(handle.status_sync().as_dict())]
    texts += [repr(record.msg) + str(record.exc_text) for record in caplog.records]
    for dead in app.dead():
        texts += [repr(dead.failure), dead.preview(10_000)]
        texts += [f"{name}={value}" for name, value in dead.headers.items()]
    return "\n".join(texts)


CALLS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "by keyword": (("me",), {"password": SECRET}),
    "by position": (("me", SECRET), {}),
}


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("is_bound", [True, False], ids=["bound", "plain"])
def test_a_sensitive_argument_is_shown_nowhere(
    app: TestApp,
    worker: Worker,
    caplog: pytest.LogCaptureFixture,
    how: str,
    is_bound: bool,
) -> None:
    caplog.set_level(logging.DEBUG)

    @task(retry=1, retry_delay=0, sensitive=("password",))
    def plain(user: str, password: str) -> None:
        raise ValueError(f"login of {user} with {password!r} failed", password)

    @task(retry=1, retry_delay=0, sensitive="password")
    async def bound(self: Any, user: str, password: str) -> None:
        raise ValueError(f"login of {user} with {password} failed")

    args, kwargs = CALLS[how]
    handle = (bound if is_bound else plain).delay(*args, **kwargs)
    text = told(app, handle, caplog)
    assert "hunter2" not in text
    assert "login of me with" in text
    assert "***" in text


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param({"card": "4000-1234", "cvv": 987}, id="dict"),
        pytest.param(["4000-1234", (b"4000-1234",)], id="list"),
        pytest.param(UUID(int=40001234), id="uuid"),
        pytest.param(987, id="short"),
    ],
)
def test_a_sensitive_value_is_masked_in_all_its_parts(
    app: TestApp, worker: Worker, caplog: pytest.LogCaptureFixture, secret: Any
) -> None:
    caplog.set_level(logging.DEBUG)

    @task(retry=0, sensitive="secret")
    def work(secret: Any) -> None:
        raise ValueError(f"cannot use {secret}")

    text = told(app, work.delay(secret), caplog)
    for part in ("4000-1234", "40001234", "cannot use 987", "'cvv': 987"):
        assert part not in text


def test_the_task_itself_and_the_body_of_its_dead_letter_have_the_value(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=0, sensitive="password")
    def work(password: str) -> None:
        ledger(password)
        raise ValueError

    work.delay(SECRET).wait_sync(10)
    assert ledger.entries == [SECRET]
    (dead,) = app.dead()
    assert json.loads(dead.body)["args"] == [SECRET]


def test_a_large_dead_letter_is_masked_too(app: TestApp, worker: Worker) -> None:
    @task(retry=0, sensitive="password")
    def work(padding: str, password: str) -> None:
        raise ValueError

    work.delay("x" * 30_000, SECRET).wait_sync(10)
    (dead,) = app.dead()
    assert "hunter2" not in dead.preview(1_000_000)
    assert "xxx" in dead.preview()


def test_a_failure_callback_gets_masked_text(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    @task
    def failed(task_id: str, exception: str, traceback: str) -> None:
        ledger(exception + traceback)

    @task(retry=0, sensitive="password", on_failure=failed)
    def work(password: str) -> None:
        raise ValueError(f"not {password}")

    work.delay(SECRET)
    (text,) = ledger.wait(1)
    assert "hunter2" not in text
    assert "***" in text


@pytest.mark.parametrize("name", ["args", "kwargs"])
def test_any_number_of_arguments_may_be_sensitive(
    app: TestApp, worker: Worker, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    @task(retry=0, sensitive=name)
    def work(first: str, *args: str, **kwargs: str) -> None:
        raise ValueError(first, args, kwargs)

    calls: dict[str, Callable[[], TaskHandle[Any]]] = {
        "args": lambda: work.delay("shown", SECRET, SECRET, k="visible"),
        "kwargs": lambda: work.delay("shown", "visible", k=SECRET),
    }
    text = told(app, calls[name](), caplog)
    assert "hunter2" not in text
    assert "visible" in text
