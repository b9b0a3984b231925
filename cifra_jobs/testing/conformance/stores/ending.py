"""Outcomes, results and revocation."""

from __future__ import annotations

import pytest

from cifra_jobs.jobs.state import FINAL_STATES, TaskState
from cifra_jobs.store.base import ClaimReply
from cifra_jobs.store.keys import INLINE_RESULT_CHARS
from cifra_jobs.testing.assertions import eventually
from cifra_jobs.testing.conformance.stores.story import Story

__all__ = ["EndingCases"]

_LARGE = '"' + "x" * INLINE_RESULT_CHARS + '"'
_RESULTS = pytest.mark.parametrize("result", ['{"größe":[1]}', _LARGE], ids=["small", "large"])


class EndingCases:
    """What `Stage`, `Finish`, `Progress` and `Revoke` promise."""

    @_RESULTS
    def test_an_outcome_is_recorded_with_its_result(self, story: Story, result: str) -> None:
        """One write says it all, also where no start was written."""
        story.created()
        story.claim()
        assert story.finish(result=result) == "ok"
        record = story.record
        assert (record.state, record.result, record.result_expired) == (
            TaskState.SUCCESS,
            result,
            False,
        )
        assert (record.attempts, record.started_at, record.finished_at, record.worker) == (
            1,
            story.now + 2,
            story.now + 3,
            "w1",
        )

    @pytest.mark.parametrize("final", sorted(FINAL_STATES))
    def test_a_final_state_never_changes(self, story: Story, final: TaskState) -> None:
        """A late duplicate never turns the end into something else."""
        story.created()
        story.claim("t1")
        story.finish("t1", final)
        assert story.claim("t2") == ClaimReply("done", str(final))
        assert story.finish("t2", TaskState.FAILED) == "final"
        assert story.started("t1") is False
        assert story.progress("t1") is False
        assert story.stage("t1") is False
        assert story.release("t1") is False
        assert story.revoke() == str(final)
        assert story.created() == str(final)
        assert (story.state, story.record.revoked) == (final, False)

    def test_a_repeated_outcome_knows_itself(self, story: Story) -> None:
        """The first answer was lost on the way: the writer need not doubt."""
        story.claim("t1")
        assert story.finish("t1") == "ok"
        assert story.finish("t1") == "ok"

    def test_an_outcome_without_record_or_claim_is_accepted(self, story: Story) -> None:
        """The claim was made while the store was away, or the store was rolled back."""
        assert story.finish("t1", result="1") == "ok"
        record = story.record
        assert (record.state, record.task_name, record.queue, record.worker, record.result) == (
            TaskState.SUCCESS,
            "mails.send",
            "default",
            "w1",
            "1",
        )

    def test_a_retry_frees_the_task_for_the_copy_that_was_sent_on(self, story: Story) -> None:
        """The old copy is stale, the new one runs, and the error stays until it ends well."""
        story.beat()
        story.claim("t1")
        due = story.now + 60_000
        assert story.finish("t1", TaskState.RETRYING, round=1, eta=due, error='{"n":1}') == "ok"
        record = story.record
        assert (record.state, record.eta, record.error) == (TaskState.RETRYING, due, '{"n":1}')
        assert record.finished_at is None
        assert story.claim("t2", task_round=0).verdict == "stale"
        assert story.claim("t2", task_round=1).verdict == "run"
        story.started("t2", attempts=2)
        assert story.finish("t2", attempts=2, round=1) == "ok"
        assert (story.state, story.record.error) == (TaskState.SUCCESS, None)

    def test_a_late_repeat_of_a_retry_does_not_turn_rounds_back(self, story: Story) -> None:
        """The copy that it sent on was sent on again meanwhile."""
        story.claim("t1")
        story.finish("t1", TaskState.RETRYING, round=1)
        story.claim("t2", task_round=1)
        story.finish("t2", TaskState.RETRYING, round=2)
        assert story.finish("t1", TaskState.RETRYING, round=1) == "lost"
        assert story.claim("t3", task_round=1).verdict == "stale"

    @_RESULTS
    def test_a_staged_result_is_the_outcomes_result(self, story: Story, result: str) -> None:
        """It was stored before the follow-ups that read it."""
        story.claim()
        assert story.stage(result=result) is True
        assert story.record.result == result
        story.finish()
        assert story.record.result == result

    def test_a_task_that_has_staged_its_result_is_not_run_again(self, story: Story) -> None:
        """Its worker died between the run and the record of its outcome."""
        story.claim("t1", worker="w1")
        story.started("t1")
        story.stage("t1", result='"kept"')
        reply = story.claim("t2", worker="w2")
        assert (reply.verdict, reply.result) == ("staged", '"kept"')
        assert story.finish("t2") == "ok"
        assert story.claim("t3").verdict == "done"

    def test_a_failed_task_that_was_put_back_is_open_once_more(self, story: Story) -> None:
        """Once for each time; and never one that has succeeded."""
        story.claim("t1")
        story.finish("t1", state=TaskState.FAILED, error='{"type":"ValueError"}')
        assert story.claim("t2").verdict == "done"
        assert story.claim("t2", task_round=1, replays=1).verdict == "run"
        record = story.record
        assert (record.state, record.error, record.attempts) == (TaskState.QUEUED, None, 0)
        assert story.finish("t2") == "ok"
        assert story.claim("t3", task_round=1, replays=1).verdict == "done"
        assert story.claim("t3", task_round=2, replays=2).verdict == "done"

    def test_a_staged_result_goes_when_the_task_fails_after_all(self, story: Story) -> None:
        """Its follow-ups could not be sent, and the next attempt failed."""
        story.claim()
        story.stage(result=_LARGE)
        story.finish(state=TaskState.FAILED, error='{"type":"ValueError"}')
        record = story.record
        assert (record.result, record.result_expired) == (None, False)

    @_RESULTS
    def test_an_expired_result_says_so(self, story: Story, result: str) -> None:
        """The record outlives it."""
        story.claim()
        story.finish(result=result, result_ttl_ms=1)
        eventually(lambda: story.record.result_expired)
        assert (story.state, story.record.result) == (TaskState.SUCCESS, None)

    def test_a_record_expires(self, story: Story) -> None:
        """After the time that its last outcome gave it."""
        story.created()
        story.claim()
        story.finish(ttl_ms=1)
        eventually(lambda: story.look() is None)

    @_RESULTS
    def test_a_hand_over_is_owed_until_somebody_says_it_is_done(
        self, story: Story, result: str
    ) -> None:
        """The next copy gets what it needs to repeat it."""
        story.claim("t1")
        story.finish("t1", result=result, handed_over=False)
        assert story.claim("t2") == ClaimReply("done", "success", handed_over=False, result=result)
        assert story.finish("t2") == "final"
        assert story.claim("t3") == ClaimReply("done", "success")

    def test_progress_is_merged_and_ends_with_the_token(self, story: Story) -> None:
        """``None`` leaves a field as it is."""
        story.claim()
        story.started()
        assert story.progress(percent=12.5) is True
        assert story.progress(percent=None) is True
        record = story.record
        assert (record.progress, record.message) == (12.5, 'half "way"')
        assert (record.stage, record.meta) == ("READING", {"rows": []})

    def test_revoking_a_waiting_task_ends_it(self, story: Story) -> None:
        """Nobody has handed anything over yet: whoever receives the message must."""
        story.created(TaskState.SCHEDULED)
        assert story.revoke() == "scheduled"
        record = story.record
        assert (record.state, record.revoked, record.finished_at) == (
            TaskState.REVOKED,
            True,
            story.now + 4,
        )
        assert story.claim() == ClaimReply(
            "done", "revoked", handed_over=False, error='{"type":"TaskRevoked"}'
        )
        assert story.revoke() == "revoked"

    def test_revoking_an_unknown_id_waits_for_its_message(self, story: Story) -> None:
        """The flag is durable; the id stays unknown until then."""
        assert story.revoke() is None
        assert story.look() is None
        assert story.claim().verdict == "revoked"
        assert story.finish(state=TaskState.REVOKED) == "ok"

    def test_revoking_a_claimed_task_leaves_it_to_its_holder(self, story: Story) -> None:
        """It is about to start: the flag is all."""
        story.created()
        story.claim("t1")
        assert story.revoke() == "queued"
        assert (story.state, story.record.revoked) == (TaskState.QUEUED, True)
        assert story.started("t1") is True

    def test_a_revoked_task_that_had_started_is_taken_over_by_a_run(self, story: Story) -> None:
        """Revoking without ``terminate`` lets a run end; its worker died, so another runs it."""
        story.claim("t1")
        story.started("t1")
        assert story.revoke() == "running"
        assert story.claim("t2", worker="w2").verdict == "run"

    def test_a_revoked_task_does_not_start_its_next_round(self, story: Story) -> None:
        """The run went on and asked for another."""
        story.claim("t1")
        story.started("t1")
        story.revoke()
        story.finish("t1", TaskState.RETRYING, round=1)
        assert story.claim("t2", task_round=1).verdict == "revoked"
