"""Whatever arrives on a queue: parked with a reason, and the worker goes on."""

from __future__ import annotations

import contextlib
import json
import zlib
from typing import TYPE_CHECKING, Any

import pika
import pytest

from cifra_jobs import task
from cifra_jobs.testing.assertions import eventually
from tests.contract.kit import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cifra_jobs.brokers.deadletters import DeadLetter
    from tests.contract.kit import Make, TestApp, Workers


def body_of(app: TestApp, **changes: Any) -> bytes:
    """A message of the task ``work``, as any producer would write it, but for some fields."""
    fields = {
        "queue_name": app.queue,
        "actor_name": "work",
        "args": [],
        "kwargs": {},
        "options": {},
        "message_id": f"id-{app.queue}",
        "message_timestamp": 1_700_000_000_000,
        **changes,
    }
    return json.dumps({name: value for name, value in fields.items() if value != "-"}).encode()


UNDECODABLE: dict[str, Callable[[TestApp], bytes]] = {
    "empty": lambda _: b"",
    "not JSON": lambda _: b"\x00\xff\xfe garbage",
    "truncated": lambda app: body_of(app)[:-20],
    "JSON, not a message": lambda _: b"[1, 2, 3]",
    "JSON of a number": lambda _: b"42",
    "a field missing": lambda app: body_of(app, args="-"),
    "a field too many": lambda app: body_of(app, color="red"),
    "args of a wrong type": lambda app: body_of(app, args="abc"),
    "options of a wrong type": lambda app: body_of(app, options=[]),
    "an id that is no text": lambda app: body_of(app, message_id=7),
    "retries that are no count": lambda app: body_of(app, options={"retries": "many"}),
    "a round below zero": lambda app: body_of(app, options={"round": -1}),
    "options that make no sense": lambda app: body_of(app, options={"set": {"retry": "lots"}}),
    "options that are no mapping": lambda app: body_of(app, options={"set": [1]}),
    "an expiry that is no moment": lambda app: body_of(app, options={"expires_at": "soon"}),
    "links that are no calls": lambda app: body_of(app, options={"link": [7]}),
    "an id too long to travel": lambda app: body_of(app, message_id="x" * 300),
    "a name too long to travel": lambda app: body_of(app, actor_name="é" * 200),
    "a tag of ours that is malformed": lambda app: body_of(
        app, args=[{"__cifra__": "uuid", "v": "no uuid"}]
    ),
    "a tag that nobody knows": lambda app: body_of(app, args=[{"__cifra__": "bomb", "v": 1}]),
    "a class that does not exist": lambda app: body_of(
        app, args=[{"__cifra__": "model", "c": "no.such:Thing", "v": {}}]
    ),
    "nested too deep": lambda app: body_of(app, args=[0]).replace(
        b"[0]", b"[" * 5000 + b"]" * 5000
    ),
}


@pytest.fixture
def worked(app: TestApp, workers: Workers) -> TestApp:
    """An app whose one worker knows the task ``work``."""

    @task
    def work() -> str:
        return "fine"

    workers(concurrency=1)
    return app


@contextlib.contextmanager
def raw_channel(make: Make) -> Iterator[Any]:
    """A channel of another library, for messages that ours would not write."""
    connection = pika.BlockingConnection(pika.URLParameters(make.broker["url"]))
    with contextlib.closing(connection):
        yield connection.channel()


def parked(app: TestApp, count: int = 1) -> list[DeadLetter]:
    """The dead letters, once there are so many; and the worker is alive and goes on."""
    letters = eventually(lambda: letters if len(letters := app.dead()) >= count else None)
    assert app.broker.actors["work"].apply_sync() == "fine"  # type: ignore[attr-defined]
    assert len(app.dead()) == count
    return letters or []


@pytest.mark.parametrize("kind", UNDECODABLE)
def test_bytes_that_are_no_message_are_parked_untouched_with_a_reason(
    worked: TestApp, kind: str
) -> None:
    body = UNDECODABLE[kind](worked)
    worked.put(body, message_id="m-1")
    (letter,) = parked(worked)
    assert letter.body == body
    assert letter.failure is not None
    assert letter.failure.reason in {"undecodable", "policy"}
    assert letter.failure.message
    assert letter.failure.queue == worked.queue


def test_a_body_that_names_another_queue_is_parked(worked: TestApp) -> None:
    worked.put(body_of(worked, queue_name="elsewhere"))
    (letter,) = parked(worked)
    assert letter.failure is not None
    assert letter.failure.reason == "wrong_queue"
    assert "elsewhere" in letter.failure.message
    assert letter.failure.task == "work"
    assert worked.state(f"id-{worked.queue}") == "failed"
    # The copy that was addressed rightly runs all the same.
    worked.put(body_of(worked))
    eventually(lambda: worked.state(f"id-{worked.queue}") == "success")


def test_an_unknown_content_encoding_is_parked(worked: TestApp) -> None:
    worked.put(body_of(worked), content_encoding="brotli")
    (letter,) = parked(worked)
    assert letter.content_encoding == "brotli"
    assert letter.failure is not None
    assert "brotli" in letter.failure.message


@pytest.mark.parametrize("cut", [0, 10])
def test_a_compressed_body_is_read_and_a_damaged_one_parked(worked: TestApp, cut: int) -> None:
    packed = zlib.compress(body_of(worked))
    worked.put(packed[: len(packed) - cut], content_encoding="deflate")
    if cut:
        (letter,) = parked(worked)
        assert letter.body == packed[:-cut]
    else:
        eventually(lambda: worked.state(f"id-{worked.queue}") == "success")


def test_a_small_body_that_unfolds_to_gigabytes_is_parked(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    app = make_app(max_message_size=50_000)

    @task
    def work() -> str:
        return "fine"

    new_workers(app)(concurrency=1)
    app.put(zlib.compress(b"0" * 50_000_000), content_encoding="deflate")
    app.put(b"1" * 50_001)
    first, second = parked(app, 2)
    assert first.failure is not None
    assert second.failure is not None
    assert "50000" in first.failure.message
    assert "50000" in second.failure.message


def test_a_message_for_a_task_that_nobody_knows_waits_and_is_then_parked(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    log_lines: Callable[[], list[dict[str, Any]]],
) -> None:
    app = make_app(unknown_task_grace=0.2)

    @task
    def work() -> str:
        return "fine"

    new_workers(app)(concurrency=1)
    app.put(body_of(app, actor_name="wrok"))
    (letter,) = parked(app)
    assert letter.failure is not None
    assert (letter.failure.reason, letter.failure.task) == ("unknown_task", "wrok")
    warnings = [line for line in log_lines() if "unknown task" in line["event"]]
    assert warnings
    assert warnings[0]["similar"] == ["work"]
    assert app.state(f"id-{app.queue}") == "failed"


def test_a_message_of_a_newer_producer_runs_once_a_worker_knows_its_task(
    app: TestApp, workers: Workers
) -> None:
    workers(concurrency=1)
    app.put(body_of(app))
    eventually(lambda: app.ready() == 0)

    @task
    def work() -> str:
        return "fine"

    eventually(lambda: app.state(f"id-{app.queue}") == "success", timeout=5)
    assert app.dead() == []


def test_arguments_that_do_not_fit_the_function_fail_their_task(worked: TestApp) -> None:
    worked.put(body_of(worked, args=[1, 2, 3], options={"set": {"retry": 0}}))
    (letter,) = parked(worked)
    assert letter.failure is not None
    assert letter.failure.exception_type == "builtins.TypeError"


FOREIGN_HEADERS: dict[str, dict[str, Any]] = {
    "bytes": {"x": b"\xff\xfe"},
    "nothing, a table, a list": {"n": None, "t": {"a": [1, b"\xff"]}, "l": [True]},
    "a big number": {"n": 2**62},
    "a truth": {"n": True},
    "very many": {f"name-{number}": "x" * 100 for number in range(900)},
}


@pytest.mark.parametrize("kind", FOREIGN_HEADERS)
def test_a_message_with_any_headers_is_run_or_parked(
    make: Make, worked: TestApp, kind: str
) -> None:
    headers = FOREIGN_HEADERS[kind]
    if make.is_memory:
        worked.put(body_of(worked), headers=headers)
        worked.put(b"garbage", headers=headers)
    else:
        with raw_channel(make) as channel:
            properties = pika.BasicProperties(headers=headers, message_id="m")
            for body in (body_of(worked), b"garbage"):
                channel.basic_publish(f"{NAMESPACE}.task", worked.queue, body, properties)
    (letter,) = parked(worked)
    assert letter.body == b"garbage"
    assert worked.state(f"id-{worked.queue}") == "success"


def test_a_message_without_properties_is_run(make: Make, worked: TestApp) -> None:
    if make.is_memory:
        worked.put(body_of(worked))
    else:
        with raw_channel(make) as channel:
            channel.basic_publish(f"{NAMESPACE}.task", worked.queue, body_of(worked))
    eventually(lambda: worked.state(f"id-{worked.queue}") == "success")


def test_a_flood_of_garbage_kills_no_thread(worked: TestApp) -> None:
    for number in range(60):
        worked.put(b"garbage %d" % number)
    parked(worked, 60)
