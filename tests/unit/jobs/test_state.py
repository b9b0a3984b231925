"""The states of a task and the legal arrows between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs.jobs.state import (
    ARROWS,
    FINAL_STATES,
    TaskRecord,
    TaskState,
    can_move,
    status_of,
)

STATES = st.sampled_from(TaskState)


def test_every_state_has_its_arrows_and_its_status() -> None:
    assert set(ARROWS) == set(TaskState)
    assert {status_of(state) for state in TaskState} == {"pending", "running", "success", "failed"}


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("scheduled", "pending"),
        ("queued", "pending"),
        ("retrying", "pending"),
        ("snoozed", "pending"),
        ("running", "running"),
        ("success", "success"),
        ("failed", "failed"),
        ("expired", "failed"),
        ("revoked", "failed"),
        ("skipped", "failed"),
    ],
)
def test_a_state_shows_as_one_of_four_words(state: str, status: str) -> None:
    assert status_of(state) == status
    assert status_of(TaskState(state)) == status


@given(STATES, STATES)
def test_nothing_leaves_a_final_state(final: TaskState, target: TaskState) -> None:
    if final in FINAL_STATES:
        assert not can_move(final, target)


@given(STATES)
def test_any_state_may_be_the_first_seen(state: TaskState) -> None:
    assert can_move(None, state)


@given(st.lists(STATES, max_size=30))
def test_whatever_arrives_a_task_ends_at_most_once(arrivals: list[TaskState]) -> None:
    current: TaskState | None = None
    ends = 0
    for target in arrivals:
        if can_move(current, target):
            current = target
            ends += target in FINAL_STATES
    assert ends <= 1


@given(STATES)
def test_every_open_state_can_reach_every_end(state: TaskState) -> None:
    if state not in FINAL_STATES:
        assert ARROWS[state] >= FINAL_STATES
        assert TaskState.RUNNING in ARROWS[state]


def test_a_record_is_terminal_in_a_final_state() -> None:
    for state in TaskState:
        assert TaskRecord("id", state).is_terminal == (state in FINAL_STATES)
