import asyncio
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from cifra_jobs.clock import now_ms
from cifra_jobs.errors import StoreUnavailable
from cifra_jobs.jobs.state import TaskRecord, TaskState
from cifra_jobs.store.base import Created, Get, Operation, OperationRefused, Reply
from cifra_jobs.store.group_commit import GroupCommit
from cifra_jobs.store.memory import MemoryStore
from cifra_jobs.testing.assertions import eventually

PATIENCE_S = 5.0


class Breakable(MemoryStore):
    """A memory store that can be away, slow, or unable to bear one id."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.is_away = False
        self.poison = ""
        self.flowing = threading.Event()
        self.flowing.set()
        self.asked = threading.Event()

    def commit(self, operations: Sequence[Operation]) -> list[Reply]:
        self.asked.set()
        assert self.flowing.wait(PATIENCE_S)
        if self.is_away:
            raise StoreUnavailable("away, says the test")
        if self.poison and any(getattr(each, "task_id", "") == self.poison for each in operations):
            raise OperationRefused("one of them is bad")
        self.batches.append(len(operations))
        return super().commit(operations)


@pytest.fixture
def store() -> Breakable:
    return Breakable()


@pytest.fixture
def commit(store: Breakable) -> Iterator[GroupCommit]:
    commit = GroupCommit(store)
    yield commit
    store.is_away = False
    store.flowing.set()
    commit.close(PATIENCE_S)


class Answer:
    """A `done` callback that can be waited for."""

    def __init__(self) -> None:
        self._answered = threading.Event()
        self._outcome: list[Reply] | StoreUnavailable | None = None
        self.thread = ""

    def __call__(self, outcome: list[Reply] | StoreUnavailable) -> None:
        self._outcome, self.thread = outcome, threading.current_thread().name
        self._answered.set()

    @property
    def is_there(self) -> bool:
        return self._answered.is_set()

    @property
    def outcome(self) -> list[Reply] | StoreUnavailable | None:
        assert self._answered.wait(PATIENCE_S)
        return self._outcome


def created(task_id: str) -> Created:
    return Created(task_id, "t", "q", TaskState.QUEUED, None, now_ms(), None, None, None, 3_600_000)


def test_a_call_gives_a_reply_for_each_operation(commit: GroupCommit) -> None:
    replies = commit.call([created("a"), Get("a"), Get("b")], PATIENCE_S)
    assert replies[0] == "queued"
    assert isinstance(replies[1], TaskRecord)
    assert replies[2] is None


def test_what_gathers_during_a_round_trip_goes_out_as_one(
    store: Breakable, commit: GroupCommit
) -> None:
    store.flowing.clear()
    answers = [Answer() for _ in range(51)]
    commit.submit([created("0")], answers[0])
    assert store.asked.wait(PATIENCE_S)
    for n, answer in enumerate(answers[1:], 1):
        commit.submit([created(str(n))], answer)
    store.flowing.set()
    assert [answer.outcome for answer in answers] == [["queued"]] * 51
    assert store.batches == [1, 50]
    assert {answer.thread for answer in answers} == {"cifra-commit"}


async def test_an_event_loop_awaits_many_at_once(commit: GroupCommit) -> None:
    replies = await asyncio.gather(*(commit.acall([created(str(n))]) for n in range(100)))
    assert replies == [["queued"]] * 100


async def test_an_awaited_call_fails_when_its_time_is_up(
    store: Breakable, commit: GroupCommit
) -> None:
    store.flowing.clear()
    with pytest.raises(StoreUnavailable, match=r"within 0\.01 s"):
        await commit.acall([Get("a")], timeout_s=0.01)


def test_a_call_fails_when_its_time_is_up(store: Breakable, commit: GroupCommit) -> None:
    store.flowing.clear()
    with pytest.raises(StoreUnavailable, match=r"within 0\.01 s"):
        commit.call([Get("a")], 0.01)


def test_a_failed_round_trip_fails_the_others_and_keeps_the_outcomes_in_order(
    store: Breakable, commit: GroupCommit
) -> None:
    store.is_away = True
    lost, first, second = Answer(), Answer(), Answer()
    commit.submit([created("lost")], lost)
    commit.submit([created("1")], first, keep=True)
    commit.submit([created("1"), created("2")], second, keep=True)
    assert isinstance(lost.outcome, StoreUnavailable)
    eventually(lambda: not commit.is_available)
    with pytest.raises(StoreUnavailable):
        commit.call([Get("1")], PATIENCE_S)
    assert (first.is_there, second.is_there, commit.kept_count) == (False, False, 3)
    store.is_away = False
    assert first.outcome == ["queued"]
    assert second.outcome == ["queued", "queued"]
    assert commit.call([Get("lost")], PATIENCE_S) == [None]
    assert (commit.kept_count, commit.is_available) == (0, True)


def test_while_the_store_is_away_submits_fail_without_waiting_for_it(
    store: Breakable, commit: GroupCommit
) -> None:
    store.is_away = True
    with pytest.raises(StoreUnavailable):
        commit.call([Get("a")], PATIENCE_S)
    store.asked.clear()
    assert store.asked.wait(PATIENCE_S)
    # The probe hangs now, as it would in a connect timeout.
    store.flowing.clear()
    store.asked.clear()
    assert store.asked.wait(PATIENCE_S)
    with pytest.raises(StoreUnavailable, match="away, says the test"):
        commit.call([Get("a")], PATIENCE_S)


def test_a_bad_operation_fails_alone(store: Breakable, commit: GroupCommit) -> None:
    store.flowing.clear()
    store.poison = "13"
    blocker = Answer()
    commit.submit([Get("x")], blocker)
    assert store.asked.wait(PATIENCE_S)
    answers = [Answer() for _ in range(40)]
    for n, answer in enumerate(answers):
        commit.submit([created(str(n))], answer, keep=n % 2 == 0)
    store.flowing.set()
    outcomes = [answer.outcome for answer in answers]
    assert isinstance(outcomes.pop(13), OperationRefused)
    assert outcomes == [["queued"]] * 39
    assert commit.kept_count == 0


def test_an_operation_that_no_store_knows_fails_alone(commit: GroupCommit) -> None:
    nonsense: Callable[[], Operation] = object  # type: ignore[assignment]
    with pytest.raises(OperationRefused, match="KeyError"):
        commit.call([nonsense()], PATIENCE_S)
    assert commit.call([created("a")], PATIENCE_S) == ["queued"]


def test_a_callback_that_raises_harms_nobody(commit: GroupCommit) -> None:
    def raises(_outcome: object) -> None:
        raise ValueError("a caller's mistake")

    commit.submit([created("a")], raises)
    assert commit.call([created("b")], PATIENCE_S) == ["queued"]


def test_a_callback_may_submit_but_not_wait(commit: GroupCommit) -> None:
    inner, told = Answer(), Answer()

    def waits(_outcome: object) -> None:
        commit.submit([created("b")], inner)
        try:
            commit.call([Get("b")], PATIENCE_S)
        except RuntimeError as error:
            told([str(error)])

    commit.submit([created("a")], waits)
    assert inner.outcome == ["queued"]
    assert "cannot wait" in str(told.outcome)


def test_a_flush_waits_for_what_was_kept(store: Breakable, commit: GroupCommit) -> None:
    assert commit.flush(0)
    store.is_away = True
    commit.submit([created("a")], keep=True)
    assert commit.flush(0.02) is False
    store.is_away = False
    assert commit.flush(PATIENCE_S)
    assert commit.kept_count == 0


def test_a_flush_with_nothing_kept_does_not_wait_for_a_store_that_is_away(
    store: Breakable, commit: GroupCommit
) -> None:
    store.is_away = True
    with pytest.raises(StoreUnavailable):
        commit.call([Get("a")], PATIENCE_S)
    assert commit.flush(PATIENCE_S)


def test_a_closed_commit_has_written_everything_and_takes_no_more(
    store: Breakable, commit: GroupCommit
) -> None:
    answers = [Answer() for _ in range(20)]
    for n, answer in enumerate(answers):
        commit.submit([created(str(n))], answer, keep=True)
    assert commit.close(PATIENCE_S)
    assert commit.close(PATIENCE_S)
    assert all(answer.is_there for answer in answers)
    with pytest.raises(StoreUnavailable, match="closed"):
        commit.submit([Get("a")])


def test_closing_gives_up_what_the_store_never_took(store: Breakable) -> None:
    store.is_away = True
    commit = GroupCommit(store)
    answer = Answer()
    commit.submit([created("a")], answer, keep=True)
    assert commit.close(0.02) is False
    assert isinstance(answer.outcome, StoreUnavailable)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_its_own_and_leaves_the_parents_queue_alone(
    store: Breakable, commit: GroupCommit
) -> None:
    store.flowing.clear()
    mine = Answer()
    commit.submit([created("a")], mine)
    assert store.asked.wait(PATIENCE_S)
    waiting = Answer()
    commit.submit([created("b")], waiting)

    def child() -> None:
        store.flowing = threading.Event()
        store.flowing.set()
        store.batches.clear()
        assert commit.kept_count == 0
        assert commit.call([created("c")], PATIENCE_S) == ["queued"]
        assert store.batches == [1]

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(PATIENCE_S)
    assert process.exitcode == 0
    store.flowing.set()
    assert mine.outcome == ["queued"]
    assert waiting.outcome == ["queued"]


def test_many_threads_lose_nothing(store: Breakable, commit: GroupCommit) -> None:
    answers = [[Answer() for _ in range(200)] for _ in range(8)]

    def work(n: int) -> None:
        for k, answer in enumerate(answers[n]):
            commit.submit([created(f"{n}-{k}")], answer, keep=True)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert commit.flush(PATIENCE_S)
    assert all(answer.outcome == ["queued"] for row in answers for answer in row)
    assert sum(store.batches) == 1600
