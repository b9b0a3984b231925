"""Work handed from threads to an event loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pytest

from cifra_jobs.postbox import Postbox, postbox_of


async def test_calls_of_many_threads_all_arrive_each_threads_in_order() -> None:
    box = Postbox(asyncio.get_running_loop())
    got: list[tuple[int, int]] = []
    done = asyncio.Event()

    def take(item: tuple[int, int]) -> None:
        got.append(item)
        if len(got) == 4000:
            done.set()

    def post(thread: int) -> None:
        for i in range(1000):
            box.post(take, (thread, i))

    threads = [threading.Thread(target=post, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    async with asyncio.timeout(10):
        await done.wait()
    for n in range(4):
        assert [i for thread, i in got if thread == n] == list(range(1000))


async def test_a_call_runs_on_the_loops_thread() -> None:
    box = Postbox(asyncio.get_running_loop())
    ran = asyncio.get_running_loop().create_future()
    threading.Thread(
        target=lambda: box.post(lambda _: ran.set_result(threading.get_ident()), None)
    ).start()
    assert await asyncio.wait_for(ran, 5) == threading.get_ident()


async def test_a_call_that_fails_stops_no_other() -> None:
    loop = asyncio.get_running_loop()
    problems: list[Any] = []
    loop.set_exception_handler(lambda _, context: problems.append(context["exception"]))
    box = Postbox(loop)
    done = loop.create_future()

    def fail(_: Any) -> None:
        raise ValueError("mine")

    box.post(fail, None)
    box.post(done.set_result, "ran")
    assert await asyncio.wait_for(done, 5) == "ran"
    assert [str(problem) for problem in problems] == ["mine"]


async def test_a_call_may_post_the_next() -> None:
    loop = asyncio.get_running_loop()
    box = Postbox(loop)
    done = loop.create_future()
    box.post(lambda _: box.post(done.set_result, "second"), None)
    assert await asyncio.wait_for(done, 5) == "second"


def test_a_closed_loop_takes_nothing() -> None:
    loop = asyncio.new_event_loop()
    box = postbox_of(loop)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        box.post(print, None)


def test_a_loop_has_one_postbox_and_is_not_kept_by_it() -> None:
    loop = asyncio.new_event_loop()
    assert postbox_of(loop) is postbox_of(loop)
    gone = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert gone() is None
