"""What a type checker knows of tasks; read by mypy, never run.

An expected error is an ignore with its code: mypy's strict mode reports one that is not needed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, assert_type

import dramatiq

from cifra_jobs import Signature, Task, TaskHandle, TaskStatus, asend_many, send_many, task


@task
async def greet(name: str, *, times: int = 1) -> str:
    return name * times


@task(retry=3, timeout=5)
def add(x: int, y: int) -> int:
    return x + y


@task(queue="slow")
async def nothing() -> None: ...


def declared() -> None:
    known: Task[[int, int], int] = add
    del known
    assert_type(nothing, Task[[], None])
    actor: dramatiq.Actor[..., Any] = add
    del actor
    task(5)  # type: ignore[call-overload]


async def handles() -> None:
    assert_type(greet.delay("you"), TaskHandle[str])
    assert_type(await greet.delay("you", times=2), TaskHandle[str])
    assert_type(await (await greet.delay("you")).get(), str)
    assert_type(await greet.delay("you").get(timeout=5), str)
    assert_type(add.delay(1, 2).result(5), int)
    assert_type(add.delay(1, 2).get_sync(), int)
    assert_type(await add.delay(1, 2).wait(), TaskHandle[int])
    assert_type(await greet.apply("you"), str)
    assert_type(add.apply_sync(1, 2), int)
    assert_type(greet.apply_at(datetime.now(UTC), "you"), TaskHandle[str])
    assert_type(add.apply_async((1, 2), priority=9), TaskHandle[int])
    assert_type(await nothing.apply(), None)
    assert_type(await add.delay(1, 2).revoke(), bool)
    status: TaskStatus = await add.delay(1, 2).status()
    as_text: str = add.delay(1, 2)
    del status, as_text


async def handles_of_a_bare_id() -> None:
    handle = TaskHandle("an-id")
    assert_type(await handle.get(), Any)
    known: TaskHandle[int] = TaskHandle("an-id")
    assert_type(await known.get(), int)


async def messages() -> None:
    assert_type(add.send(1, 2), dramatiq.Message[int])
    assert_type(add.message(1, y=2), dramatiq.Message[int])
    assert_type(await add.asend(1, 2), dramatiq.Message[int])


async def wrong_arguments() -> None:
    greet.delay(5)  # type: ignore[arg-type]
    greet.delay()  # type: ignore[call-arg]
    greet.delay("you", 2)  # type: ignore[call-arg]
    greet.delay("you", times="2")  # type: ignore[arg-type]
    greet.delay("you", time=2)  # type: ignore[call-arg]
    add.send("1", 2)  # type: ignore[arg-type]
    add.send(1)  # type: ignore[call-arg]
    await add.asend(1, None)  # type: ignore[arg-type]
    await greet.apply(b"you")  # type: ignore[arg-type]
    add.apply_sync(1, 2, 3)  # type: ignore[call-arg]
    greet.apply_at("noon", "you")  # type: ignore[arg-type]
    greet.apply_at(datetime.now(UTC), 5)  # type: ignore[arg-type]
    nothing.delay(1)  # type: ignore[call-arg]
    add(1, "2")  # type: ignore[arg-type]


async def wrong_results() -> None:
    text: str = await add.apply(1, 2)  # type: ignore[assignment]
    number: int = greet.delay("you").result()  # type: ignore[assignment]
    other: TaskHandle[int] = greet.delay("you")  # type: ignore[assignment]
    del text, number, other


async def signatures() -> None:
    assert_type(add.s(1), Signature[int])
    assert_type(add.si(1, 2).set(priority=9), Signature[int])
    assert_type(await add.s(1, 2).apply(), int)
    assert_type(greet.s("you").delay(), TaskHandle[str])
    assert_type(send_many([add.s(1, 2)]), list[TaskHandle[Any]])
    assert_type(await asend_many(add.s(i, 1) for i in range(3)), list[TaskHandle[Any]])
    send_many([add])  # type: ignore[list-item]
