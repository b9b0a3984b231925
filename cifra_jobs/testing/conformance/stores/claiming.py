"""Sending and claiming: who may run a delivery."""

from __future__ import annotations

import pytest

from cifra_jobs.jobs.state import TaskState
from cifra_jobs.store.base import Created, Get, Gone, Live
from cifra_jobs.testing.conformance.stores.story import Story

__all__ = ["ClaimingCases"]


class ClaimingCases:
    """What `Created`, `SendFailed`, `Claim`, `Started`, `Release` and the workers promise."""

    def test_a_created_task_is_remembered_as_it_was_sent(self, story: Story) -> None:
        """Every field of the sender comes back."""
        due = story.now + 60_000
        reply = story.created(TaskState.SCHEDULED, eta=due, root_id="r", parent_id="p")
        record = story.record
        assert reply == "scheduled"
        assert (record.state, record.task_name, record.queue) == (
            TaskState.SCHEDULED,
            "mails.send",
            "default",
        )
        assert (record.priority, record.created_at, record.eta) == (5, story.now, due)
        assert (record.root_id, record.parent_id) == ("r", "p")
        assert (record.attempts, record.started_at, record.finished_at) == (0, None, None)
        assert (record.worker, record.result, record.error, record.meta) == (None, None, None, {})

    def test_an_unknown_id_is_unknown(self, story: Story) -> None:
        """`Get` answers ``None``."""
        assert story.look() is None

    def test_sending_again_under_one_id_changes_nothing(self, story: Story) -> None:
        """The second `Created` only reads."""
        story.created()
        story.claim()
        story.started()
        assert story.created(TaskState.SCHEDULED) == "running"
        assert story.state == TaskState.RUNNING

    def test_a_failed_send_is_failed_until_it_is_sent_again(self, story: Story) -> None:
        """`SendFailed` marks, `Created` revives."""
        story.created()
        assert story.send_failed() == "failed"
        assert story.record.error == '{"type":"BrokerUnavailable"}'
        assert story.created() == "queued"
        record = story.record
        assert (record.state, record.error, record.finished_at) == (TaskState.QUEUED, None, None)

    def test_a_claim_revives_a_send_that_failed(self, story: Story) -> None:
        """The message had arrived after all."""
        story.created()
        story.send_failed()
        assert story.claim().verdict == "run"
        assert (story.state, story.record.error) == (TaskState.QUEUED, None)

    def test_a_send_does_not_fail_once_a_worker_has_the_task(self, story: Story) -> None:
        """The missing confirm proves nothing any more."""
        story.created()
        story.claim()
        assert story.send_failed() == "queued"
        story.release()
        assert story.send_failed() == "queued"
        story.claim()
        story.finish()
        assert story.send_failed() == "success"

    def test_a_failed_send_of_an_id_never_seen_leaves_it_unknown(self, story: Story) -> None:
        """There is nothing to fail."""
        assert story.send_failed() is None
        assert story.look() is None

    def test_a_claim_of_an_unknown_task_creates_its_record(self, story: Story) -> None:
        """The sender's write may be late or lost."""
        assert story.claim().verdict == "run"
        record = story.record
        assert (record.state, record.task_name, record.queue) == (
            TaskState.QUEUED,
            "mails.send",
            "default",
        )
        assert (record.created_at, record.worker) == (story.now, "w1")

    def test_a_second_copy_waits_while_the_first_ones_worker_lives(self, story: Story) -> None:
        """Even for the very worker that holds it: its own zombie may be running it."""
        story.created()
        story.beat("w1")
        story.claim("t1", worker="w1")
        assert story.claim("t2", worker="w2").verdict == "busy"
        assert story.claim("t3", worker="w1").verdict == "busy"
        assert story.started("t2") is False
        assert story.started("t1") is True

    def test_a_repeated_claim_still_holds(self, story: Story) -> None:
        """Its first answer was lost on the way."""
        story.beat("w1")
        story.claim("t1")
        assert story.claim("t1").verdict == "run"

    @pytest.mark.parametrize("end", ["gone", "never"])
    def test_a_dead_workers_task_is_taken_over(self, story: Story, end: str) -> None:
        """The token is replaced: the zombie cannot write any more."""
        story.created()
        if end == "gone":
            story.beat("w1")
        story.claim("t1", worker="w1")
        story.started("t1")
        if end == "gone":
            story.do(Gone("w1"))
        taken_over = story.claim("t2", worker="w2")
        assert (taken_over.verdict, taken_over.deaths) == ("run", 1)
        assert story.finish("t1", result='"zombie"') == "lost"
        assert story.progress("t1") is False
        assert story.release("t1") is False
        assert story.stage("t1") is False
        assert story.started("t2", attempts=2) is True
        assert (story.record.attempts, story.record.worker) == (2, "w2")

    def test_only_deaths_of_a_running_task_are_counted(self, story: Story) -> None:
        """Who claimed and died before the start is no suspect; each death while running is."""
        story.created()
        story.claim("t1", worker="w1")
        assert story.claim("t2", worker="w2").deaths == 0
        story.started("t2")
        assert story.claim("t3", worker="w3").deaths == 1
        story.started("t3", attempts=2)
        assert story.claim("t4", worker="w4").deaths == 2

    def test_an_older_copy_is_stale_and_a_newer_one_takes_over(self, story: Story) -> None:
        """Rounds are the fence of a message that was sent on."""
        story.beat("w1")
        story.claim("t1")
        assert story.claim("t2", task_round=1).verdict == "run"
        assert story.finish("t1", TaskState.RETRYING, round=1) == "lost"
        assert story.claim("t3", task_round=0).verdict == "stale"

    def test_a_released_claim_is_free_at_once(self, story: Story) -> None:
        """Drained, not died: nobody waits for the worker's end."""
        story.created()
        story.beat("w1")
        story.claim("t1")
        story.started("t1")
        assert story.release("t1") is True
        assert story.state == TaskState.QUEUED
        assert story.release("t1") is False
        assert story.claim("t2", worker="w2").verdict == "run"

    def test_a_start_is_recorded(self, story: Story) -> None:
        """With its worker, its time and its number."""
        story.created()
        story.claim()
        assert story.started() is True
        record = story.record
        assert (record.state, record.attempts, record.started_at, record.worker) == (
            TaskState.RUNNING,
            1,
            story.now + 2,
            "w1",
        )

    def test_only_living_workers_are_listed(self, story: Story) -> None:
        """`Gone` takes one out at once."""
        story.beat("w1")
        story.beat("w2")
        assert story.do(Live()) == {"w1": '{"pid":1}', "w2": '{"pid":1}'}
        assert story.do(Gone("w1")) is True
        assert story.do(Live()) == {"w2": '{"pid":1}'}

    def test_a_batch_is_applied_in_order_with_a_reply_for_each(self, story: Story) -> None:
        """However many operations it holds."""
        other = Created("x", "a", "b", TaskState.QUEUED, None, 1, None, None, None, 60_000)
        batch = [
            operation
            for n in range(1100)
            for operation in (other._replace(task_id=f"x{n}"), Get(f"x{n}"))
        ]
        replies = story.store.commit(batch)
        assert replies[::2] == ["queued"] * 1100
        assert [getattr(reply, "task_id", None) for reply in replies[1::2]] == [
            f"x{n}" for n in range(1100)
        ]
        assert story.store.commit([]) == []
