"""The fixtures of the plugin, used as a project would use them."""

import dramatiq
import pytest

from cifra_jobs import App, TaskFailed, task
from cifra_jobs.brokers.memory import MemoryTransport
from cifra_jobs.testing import assert_enqueued, refute_enqueued


def test_a_task_runs_and_its_result_comes_back(jobs_app: App) -> None:
    @task
    def add(x: int, y: int = 1) -> int:
        return x + y

    assert add.delay(2, y=3).result(timeout=5) == 5


async def test_an_async_task_runs_and_its_failure_is_raised(jobs_app: App) -> None:
    @task(retry=0)
    async def refuse() -> None:
        raise TaskFailed("no")

    handle = await refuse.delay()
    with pytest.raises(TaskFailed, match="no"):
        await handle.get(timeout=5)


def test_what_is_sent_stays_in_its_queue_without_a_worker(idle_jobs_app: App) -> None:
    @task(queue="mail")
    def send(to: str, subject: str = "hello") -> None: ...

    refute_enqueued(idle_jobs_app, send)
    send.delay("you")
    send.apply_async(("me",), {"subject": "later"}, countdown=3600)
    assert assert_enqueued(idle_jobs_app, send, kwargs={"to": "you"}).args == ("you",)
    assert_enqueued(idle_jobs_app, send, ("you", "hello"), queue="mail")
    assert_enqueued(idle_jobs_app, send, ("me", "later"))
    refute_enqueued(idle_jobs_app, send, ("nobody",))
    refute_enqueued(idle_jobs_app, send, queue="default")


def test_a_failed_assertion_names_what_waits(idle_jobs_app: App) -> None:
    @task
    def send(to: str) -> None: ...

    send.delay("you")
    with pytest.raises(AssertionError, match=r"no call send\('me'\) waits; waiting: send\('you'\)"):
        assert_enqueued(idle_jobs_app, send, ("me",))
    with pytest.raises(AssertionError, match="a call of send waits"):
        refute_enqueued(idle_jobs_app, send)


def test_plain_actors_can_be_asserted(idle_jobs_app: App) -> None:
    @dramatiq.actor
    def plain(x: int) -> None: ...

    plain.send(1)
    assert_enqueued(idle_jobs_app, plain, (1,))


@pytest.mark.parametrize("turn", [1, 2])
def test_tasks_of_a_test_are_forgotten_with_it(idle_jobs_app: App, turn: int) -> None:
    @task
    def same_name() -> None: ...

    assert "same_name" in idle_jobs_app.broker.actors


def test_the_memory_broker_is_one_of_the_test_alone(memory_broker: MemoryTransport) -> None:
    assert memory_broker.known_queues() == []
