"""Watching: news of tasks, and control signals."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

import orjson

from cifra_jobs.jobs.state import TaskRecord, TaskState
from cifra_jobs.store.base import Unwatch
from cifra_jobs.store.keys import INLINE_RESULT_CHARS
from cifra_jobs.testing.conformance.stores.story import Story

if TYPE_CHECKING:
    from cifra_jobs.store.base import StateStore

__all__ = ["NewsCases"]

_PATIENCE_S = 5.0


class _Ear:
    """Listens to one channel."""

    def __init__(self, store: StateStore, channel: str) -> None:
        self._store = store
        self._channel = channel
        self._heard: queue.Queue[str] = queue.Queue()
        self.subscription = store.subscribe(channel, self._heard.put)

    def next(self) -> str:
        """The next message."""
        return self._heard.get(timeout=_PATIENCE_S)

    def news(self) -> dict[str, Any]:
        """The next message, as news of a task."""
        news: dict[str, Any] = orjson.loads(self.next())
        return news

    def is_silent(self) -> bool:
        """Whether nothing came before a mark that is sent now."""
        self._store.publish(self._channel, "mark")
        return self.next() == "mark"


class NewsCases:
    """What `Watch`, `Unwatch`, `publish` and `subscribe` promise."""

    def test_listeners_of_a_channel_hear_it_and_no_other(self, store: StateStore) -> None:
        """Any number, until they leave."""
        first, second, other = _Ear(store, "a"), _Ear(store, "a"), _Ear(store, "b")
        store.publish("a", "grüß")
        assert first.next() == second.next() == "grüß"
        assert other.is_silent()
        first.subscription.close()
        first.subscription.close()
        store.publish("a", "again")
        assert second.next() == "again"

    def test_a_listener_that_raises_harms_nobody(self, store: StateStore) -> None:
        """The others go on hearing."""

        def raises(_payload: str) -> None:
            raise ValueError("a listener's mistake")

        store.subscribe("a", raises)
        ear = _Ear(store, "a")
        store.publish("a", "1")
        store.publish("a", "2")
        assert (ear.next(), ear.next()) == ("1", "2")

    def test_a_watched_task_tells_its_progress_and_its_end(
        self, store: StateStore, story: Story
    ) -> None:
        """On every channel that asked, once for each, and no more after the end."""
        ears = [_Ear(store, "a"), _Ear(store, "b")]
        story.created()
        for channel in ("a", "b", "a"):
            watched = story.watch(channel)
            assert isinstance(watched, TaskRecord)
            assert watched.state == TaskState.QUEUED
        story.claim()
        story.started()
        story.progress(percent=12.5)
        story.finish(result='{"n":1}')
        story.finish(result='{"n":1}')
        for ear in ears:
            assert ear.news() == {
                "id": story.id,
                "state": "running",
                "progress": 12.5,
                "message": 'half "way"',
                "stage": "READING",
                "meta": {"rows": []},
            }
            end = ear.news()
            assert (end["state"], end["result"], end["error"]) == ("success", '{"n":1}', None)
            assert ear.is_silent()

    def test_a_large_result_is_not_part_of_the_news(self, store: StateStore, story: Story) -> None:
        """The news says that it must be fetched."""
        ear = _Ear(store, "a")
        story.created()
        story.watch("a")
        story.claim()
        story.finish(result='"' + "x" * INLINE_RESULT_CHARS + '"')
        news = ear.news()
        assert news["large"] is True
        assert "result" not in news

    def test_a_retry_is_told_and_the_watch_goes_on(self, store: StateStore, story: Story) -> None:
        """Only a final state ends a watch."""
        ear = _Ear(store, "a")
        story.created()
        story.watch("a")
        story.claim()
        story.finish(state=TaskState.RETRYING, round=1, error='{"n":1}')
        assert ear.news()["state"] == "retrying"
        story.claim("t2", task_round=1)
        story.finish("t2", TaskState.FAILED, round=1, error='{"n":2}')
        end = ear.news()
        assert (end["state"], end["error"], end["result"]) == ("failed", '{"n":2}', None)

    def test_a_revoked_task_and_a_failed_send_are_told(
        self, store: StateStore, story: Story
    ) -> None:
        """Nobody waits for what will never run."""
        ear = _Ear(store, "a")
        other = Story(store)
        for each in (story, other):
            each.created()
            each.watch("a")
        story.revoke()
        assert (ear.news()["state"], ear.is_silent()) == ("revoked", True)
        other.send_failed()
        assert (ear.news()["state"], ear.is_silent()) == ("failed", True)

    def test_an_unknown_id_can_be_watched(self, store: StateStore, story: Story) -> None:
        """Its sender's write may be late."""
        ear = _Ear(store, "a")
        assert story.watch("a") is None
        assert story.look() is None
        story.created()
        story.claim()
        story.finish()
        assert ear.news()["state"] == "success"

    def test_a_watch_of_an_ended_task_only_reads(self, story: Story) -> None:
        """There will be no news."""
        story.claim()
        story.finish()
        watched = story.watch("a")
        assert isinstance(watched, TaskRecord)
        assert watched.state == TaskState.SUCCESS
        assert story.do(Unwatch(story.id, "a")) is False

    def test_an_unwatched_task_is_silent(self, store: StateStore, story: Story) -> None:
        """For the channel that left; the others stay."""
        leaver, stayer = _Ear(store, "a"), _Ear(store, "b")
        story.created()
        story.watch("a")
        story.watch("b")
        assert story.do(Unwatch(story.id, "a")) is True
        assert story.do(Unwatch(story.id, "a")) is False
        story.claim()
        story.finish()
        assert stayer.news()["state"] == "success"
        assert leaver.is_silent()
