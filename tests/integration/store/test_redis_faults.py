"""Redis killed, restarted, paused, full, forgetful: what the parts above it see."""

import multiprocessing
import queue
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from cifra_jobs.dev.redis import PrivateRedis
from cifra_jobs.errors import ConfigError, StoreUnavailable
from cifra_jobs.jobs.state import TaskRecord, TaskState
from cifra_jobs.store.base import Get, OperationRefused
from cifra_jobs.store.group_commit import GroupCommit, Outcome
from cifra_jobs.store.redis import RedisStore
from cifra_jobs.store.waiters import Waiters
from cifra_jobs.testing.assertions import eventually
from cifra_jobs.testing.conformance.stores import Story
from cifra_jobs.testing.proxy import TcpProxy

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateRedis]:
    # Outcomes are on disk before they are acknowledged: a kill must lose nothing.
    with PrivateRedis(config={"appendfsync": "always"}) as server:
        yield server


@pytest.fixture
def admin(server: PrivateRedis) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def store(server: PrivateRedis) -> Iterator[RedisStore]:
    store = RedisStore(server.url, namespace=f"test-{uuid.uuid4().hex}", name="under test")
    yield store
    store.close()


@pytest.fixture
def commit(store: RedisStore) -> Iterator[GroupCommit]:
    commit = GroupCommit(store)
    yield commit
    commit.close(PATIENCE_S)


@pytest.fixture
def waiters(store: RedisStore, commit: GroupCommit) -> Iterator[Waiters]:
    waiters = Waiters(commit, store)
    yield waiters
    waiters.close()


@pytest.fixture
def story(store: RedisStore) -> Story:
    return Story(store)


class Pen:
    """Commits a story's operations as kept outcomes, through the group commit."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit

    def commit(self, operations: list[object]) -> list[object]:
        self._commit.submit(operations, keep=True)  # type: ignore[arg-type]
        return [None]


def test_outcomes_and_waits_outlive_a_killed_redis(
    server: PrivateRedis, commit: GroupCommit, waiters: Waiters, story: Story
) -> None:
    other = Story(story.store)
    for each in (story, other):
        each.created()
        each.claim()
    wait, second = waiters.wait_final(story.id), waiters.wait_final(other.id)
    seen: queue.Queue[TaskRecord] = queue.Queue()
    waiters.follow(story.id, seen.put)
    assert seen.get(timeout=PATIENCE_S).state == TaskState.QUEUED
    server.kill()
    with pytest.raises(StoreUnavailable):
        commit.call([Get(story.id)], PATIENCE_S)
    kept = story.store
    story.store = other.store = Pen(commit)  # type: ignore[assignment]
    story.finish(result='"kept"')
    other.finish(state=TaskState.FAILED, error='{"n":1}')
    assert not wait.done()
    server.start()
    assert wait.result(PATIENCE_S).result == '"kept"'
    assert second.result(PATIENCE_S).error == '{"n":1}'
    story.store = kept
    assert story.state == TaskState.SUCCESS
    assert commit.kept_count == 0


def test_a_restart_between_two_commits_is_not_noticed(server: PrivateRedis, story: Story) -> None:
    story.created()
    server.restart()
    assert story.state == TaskState.QUEUED


def test_news_missed_during_a_break_of_the_subscription_are_read_afterwards(
    server: PrivateRedis,
) -> None:
    with TcpProxy(server.host, server.port) as proxy:
        url = f"redis://{proxy.host}:{proxy.port}/0"
        namespace = f"test-{uuid.uuid4().hex}"
        far, near = (
            RedisStore(url, namespace=namespace),
            RedisStore(server.url, namespace=namespace),
        )
        commit = GroupCommit(far)
        waiters = Waiters(commit, far)
        story = Story(near)
        story.created()
        seen: queue.Queue[TaskRecord] = queue.Queue()
        waiters.follow(story.id, seen.put)
        seen.get(timeout=PATIENCE_S)
        wait = waiters.wait_final(story.id)
        proxy.refuse()
        proxy.cut()
        story.claim()
        story.finish(result='"missed"')
        assert not wait.done()
        proxy.refuse(refuse=False)
        assert wait.result(PATIENCE_S).result == '"missed"'
        waiters.close()
        commit.close(PATIENCE_S)
        far.close()
        near.close()


def test_a_subscriber_hears_of_its_return(server: PrivateRedis, store: RedisStore) -> None:
    heard: queue.Queue[str] = queue.Queue()
    back = threading.Event()
    store.subscribe("a", heard.put, back.set)
    store.publish("a", "1")
    assert heard.get(timeout=PATIENCE_S) == "1"
    assert not back.is_set()
    server.restart()
    assert back.wait(PATIENCE_S)
    store.publish("a", "2")
    assert heard.get(timeout=PATIENCE_S) == "2"


def test_a_subscription_made_while_redis_is_away_comes_into_force_later(
    server: PrivateRedis, store: RedisStore
) -> None:
    server.kill()
    heard: queue.Queue[str] = queue.Queue()
    back = threading.Event()
    store.subscribe("a", heard.put, back.set)
    server.start()
    assert back.wait(PATIENCE_S)
    store.publish("a", "1")
    assert heard.get(timeout=PATIENCE_S) == "1"


def test_a_forgotten_script_is_loaded_again(admin: redis.Redis, story: Story) -> None:
    story.created()
    admin.script_flush()
    assert story.claim().verdict == "run"
    admin.script_flush()
    batch = [Get(story.id)] * 1200
    assert len(story.store.commit(batch)) == 1200


def test_a_paused_redis_is_unavailable_and_then_serves_what_was_kept(
    admin: redis.Redis, server: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cifra_jobs.store.redis.ANSWER_TIMEOUT_S", 0.2)
    store = RedisStore(server.url, namespace=f"test-{uuid.uuid4().hex}")
    commit = GroupCommit(store)
    story = Story(store)
    story.created()
    admin.execute_command("CLIENT", "PAUSE", "1000", "ALL")
    story.store = Pen(commit)  # type: ignore[assignment]
    story.finish(result='"kept"')
    eventually(lambda: not commit.is_available, PATIENCE_S)
    with pytest.raises(StoreUnavailable):
        commit.call([Get(story.id)], PATIENCE_S)
    assert commit.flush(PATIENCE_S)
    story.store = store
    assert story.record.result == '"kept"'
    commit.close(PATIENCE_S)
    store.close()


def test_a_full_redis_is_unavailable_and_nothing_kept_is_lost(
    admin: redis.Redis, commit: GroupCommit, story: Story
) -> None:
    admin.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable, match="OOM") as caught:
            story.created()
        assert not isinstance(caught.value, OperationRefused)
        kept = story.store
        story.store = Pen(commit)  # type: ignore[assignment]
        story.finish()
        eventually(lambda: not commit.is_available, PATIENCE_S)
        assert commit.kept_count == 1
    finally:
        admin.config_set("maxmemory", "0")
    assert commit.flush(PATIENCE_S)
    story.store = kept
    assert story.state == TaskState.SUCCESS


def test_a_record_of_a_wrong_type_fails_alone(
    admin: redis.Redis, store: RedisStore, commit: GroupCommit, story: Story
) -> None:
    other = Story(store)
    other.created()
    namespace = store._namespace  # noqa: SLF001 - to spoil a key of this test
    admin.set(f"{namespace}:t:{story.id}", "not a hash")
    good: queue.Queue[Outcome] = queue.Queue()
    bad: queue.Queue[Outcome] = queue.Queue()
    commit.submit([Get(story.id)], bad.put, keep=True)
    commit.submit([Get(other.id)], good.put)
    assert isinstance(bad.get(timeout=PATIENCE_S), OperationRefused)
    outcome = good.get(timeout=PATIENCE_S)
    assert isinstance(outcome, list)
    assert isinstance(outcome[0], TaskRecord)
    assert commit.kept_count == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_opens_connections_of_its_own(
    admin: redis.Redis, store: RedisStore, story: Story
) -> None:
    heard: queue.Queue[str] = queue.Queue()
    store.subscribe("a", heard.put)
    story.created()

    def child() -> None:
        mine: queue.Queue[str] = queue.Queue()
        store.subscribe("a", mine.put)
        assert story.claim().verdict == "run"
        store.publish("a", "from the child")
        assert mine.get(timeout=PATIENCE_S) == "from the child"

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    assert heard.get(timeout=PATIENCE_S) == "from the child"
    story.started()
    assert story.state == TaskState.RUNNING
    store.publish("a", "still here")
    assert heard.get(timeout=PATIENCE_S) == "still here"


def test_a_process_has_two_connections_with_its_name(
    admin: redis.Redis, store: RedisStore, commit: GroupCommit, waiters: Waiters
) -> None:
    story = Story(store)
    story.created()
    waits = [waiters.wait_final(story.id) for _ in range(10)]
    for n in range(10):
        store.subscribe(f"c{n}", lambda _payload: None)
    story.finish()
    for wait in waits:
        wait.result(PATIENCE_S)
    assert [client["name"] for client in admin.client_list()].count("under_test") == 2


def test_a_unix_socket_and_a_password_work(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with PrivateRedis(config={"requirepass": "s3cret@pass", "unixsocket": str(path)}) as server:
        for url in (server.url, f"unix://:s3cret%40pass@{path}?db=0"):
            store = RedisStore(url)
            facts = store.check()
            assert (facts["appendonly"], facts["maxmemory_policy"]) == ("yes", "noeviction")
            assert facts["version"].startswith(server.version)
            store.close()
        store = RedisStore(f"redis://:wrong@{server.host}:{server.port}/0")
        with pytest.raises(StoreUnavailable) as caught:
            store.check()
        assert "wrong@" not in str(caught.value)
        assert f"{server.host}:{server.port}" in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://127.0.0.1?colour=red"])
def test_a_url_that_is_not_understood_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1"):
        RedisStore(url)


def test_nobody_there_is_unavailable_with_the_address() -> None:
    store = RedisStore("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:1/0"):
        store.commit([Get("a")])
