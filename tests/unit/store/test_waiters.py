import asyncio
import queue
import uuid
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest

from cifra_jobs.errors import TaskNotFound
from cifra_jobs.jobs.state import TaskRecord, TaskState
from cifra_jobs.store.base import Unwatch
from cifra_jobs.store.group_commit import GroupCommit
from cifra_jobs.store.memory import MemoryStore
from cifra_jobs.store.waiters import Waiters
from cifra_jobs.testing.assertions import eventually
from cifra_jobs.testing.conformance.stores import Story

PATIENCE_S = 5.0


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    yield store
    store.close()


@pytest.fixture
def commit(store: MemoryStore) -> Iterator[GroupCommit]:
    commit = GroupCommit(store)
    yield commit
    commit.close(PATIENCE_S)


@pytest.fixture
def waiters(store: MemoryStore, commit: GroupCommit) -> Iterator[Waiters]:
    waiters = Waiters(commit, store)
    yield waiters
    waiters.close()


@pytest.fixture
def story(store: MemoryStore) -> Story:
    story = Story(store)
    story.created()
    return story


def test_everybody_who_waits_for_a_task_gets_its_end(waiters: Waiters, story: Story) -> None:
    waits = [waiters.wait_final(story.id) for _ in range(3)]
    story.claim()
    story.finish(result='"done"')
    for wait in waits:
        record = wait.result(PATIENCE_S)
        assert (record.state, record.result) == (TaskState.SUCCESS, '"done"')


def test_a_task_that_has_ended_answers_at_once(waiters: Waiters, story: Story) -> None:
    story.claim()
    story.finish(state=TaskState.FAILED, error='{"n":1}')
    record = waiters.wait_final(story.id).result(PATIENCE_S)
    assert (record.state, record.error, record.attempts) == (TaskState.FAILED, '{"n":1}', 1)


def test_a_large_result_is_fetched(waiters: Waiters, commit: GroupCommit, story: Story) -> None:
    large = '"' + "x" * 5000 + '"'
    wait = waiters.wait_final(story.id)
    seen: queue.Queue[TaskRecord] = queue.Queue()
    waiters.follow(story.id, seen.put)
    assert seen.get(timeout=PATIENCE_S).state == TaskState.QUEUED
    story.claim()
    story.finish(result=large)
    assert wait.result(PATIENCE_S).result == large
    assert seen.get(timeout=PATIENCE_S).result == large


def test_an_unknown_id_is_an_error(waiters: Waiters) -> None:
    with pytest.raises(TaskNotFound):
        waiters.wait_final(str(uuid.uuid4())).result(PATIENCE_S)


def test_a_cancelled_wait_takes_its_watch_back(
    store: MemoryStore, waiters: Waiters, commit: GroupCommit, story: Story
) -> None:
    first, second = waiters.wait_final(story.id), waiters.wait_final(story.id)
    seen: queue.Queue[TaskRecord] = queue.Queue()
    follow = waiters.follow(story.id, seen.put)
    seen.get(timeout=PATIENCE_S)
    channel = waiters._channel  # noqa: SLF001 - whether the store still tells us
    assert first.cancel()
    follow.close()
    assert store.commit([Unwatch(story.id, channel)]) == [True]
    story.watch(channel)
    assert second.cancel()
    eventually(lambda: store.commit([Unwatch(story.id, channel)]) == [False])
    with pytest.raises(CancelledError):
        second.result(PATIENCE_S)


async def test_a_thousand_coroutines_wait_over_one_subscription(
    store: MemoryStore, waiters: Waiters
) -> None:
    stories = [Story(store) for _ in range(1000)]
    for story in stories:
        story.created()
    waits = [asyncio.ensure_future(waiters.await_final(story.id)) for story in stories]
    await asyncio.sleep(0)
    for story in stories:
        story.claim()
        story.finish(result=f'"{story.id}"')
    records = await asyncio.gather(*waits)
    assert [record.result for record in records] == [f'"{story.id}"' for story in stories]


async def test_a_cancelled_coroutine_ends_its_wait(
    store: MemoryStore, waiters: Waiters, story: Story
) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(waiters.await_final(story.id), 0.02)
    channel = waiters._channel  # noqa: SLF001 - whether the store still tells us
    await asyncio.to_thread(
        eventually, lambda: store.commit([Unwatch(story.id, channel)]) == [False]
    )


def test_a_follower_sees_the_way_to_the_end(waiters: Waiters, story: Story) -> None:
    seen: queue.Queue[TaskRecord] = queue.Queue()
    late: queue.Queue[TaskRecord] = queue.Queue()
    waiters.follow(story.id, seen.put)
    assert seen.get(timeout=PATIENCE_S).task_name == "mails.send"
    story.claim()
    story.started()
    story.progress(percent=30.0)
    record = seen.get(timeout=PATIENCE_S)
    assert (record.state, record.progress, record.task_name) == (
        TaskState.RUNNING,
        30.0,
        "mails.send",
    )
    waiters.follow(story.id, late.put)
    assert late.get(timeout=PATIENCE_S).progress == 30.0
    story.finish(result='"x"')
    assert seen.get(timeout=PATIENCE_S).result == late.get(timeout=PATIENCE_S).result == '"x"'


def test_closing_cancels_open_waits(waiters: Waiters, story: Story) -> None:
    wait = waiters.wait_final(story.id)
    waiters.close()
    with pytest.raises(CancelledError):
        wait.result(PATIENCE_S)
