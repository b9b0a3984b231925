"""The `StateStore` contract: the only questions that upper floors may ask of state.

Everything is an operation in a batch: many attempts' writes travel in one round trip
(`store/group_commit.py`). An operation is plain data; a store applies a list of them in order,
each one atomically, and answers with a list of replies of the same length.

Times are milliseconds since the epoch, durations milliseconds. ``result``, ``error``, ``info`` and
``meta`` are JSON text as written by the codec: a store never looks inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from cifra_jobs.errors import StoreUnavailable
from cifra_jobs.jobs.state import TaskRecord, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Beat",
    "Claim",
    "ClaimReply",
    "Created",
    "Finish",
    "Get",
    "Gone",
    "Live",
    "Operation",
    "OperationRefused",
    "Progress",
    "Release",
    "Reply",
    "Revoke",
    "SendFailed",
    "Stage",
    "Started",
    "StateStore",
    "Subscription",
    "Unwatch",
    "Watch",
]


class OperationRefused(StoreUnavailable):
    """The store answers, but one of the operations of this batch is bad; which one is not told."""


class Created(NamedTuple):
    """A task is about to be published. Reply: the state the record has now, as a word.

    A record that exists stays as it is (sending again under one id is harmless), except one that
    `SendFailed` marked: that becomes ``state`` again.
    """

    task_id: str
    task_name: str
    queue: str
    state: TaskState
    priority: int | None
    created_at: int
    eta: int | None
    root_id: str | None
    parent_id: str | None
    #: How long the record lives if nothing more happens to it.
    ttl_ms: int


class SendFailed(NamedTuple):
    """A message did not reach its task: the record becomes ``failed``, unless a worker moved it.

    Its publish was not confirmed, or it was parked unrun. A claim still revives it, since the
    message may have arrived, or be put back. Reply: the state now.
    """

    task_id: str
    error: str
    now: int


class Claim(NamedTuple):
    """A worker asks for the right to run one delivery. Reply: `ClaimReply`.

    Creates the record if there is none (the sender's write may be late or lost). Does not change
    the state: `Started` or `Finish` do.
    """

    task_id: str
    #: How many times the message was sent on (retry, snooze); a lower one than the record's is a
    #: stale copy, a higher one takes over.
    round: int
    token: str
    worker: str
    task_name: str
    queue: str
    created_at: int
    now: int
    ttl_ms: int
    #: How often the message was put back from the dead: once more than the record knows, and a
    #: task that had ``failed`` or ``expired`` is open again.
    replays: int = 0


class ClaimReply(NamedTuple):
    """What a claim got.

    verdict:
        ``run``: the token holds; go on. ``deaths`` says how often a worker died while it ran this
        task, when the last holder did.
        ``staged``: the token holds, and an earlier holder died after the run, with the ``result``
        on record: hand it over and finish, do not run again.
        ``done``: the task has ended in ``state``; ack, after repeating the hand-over if
        ``handed_over`` is false.
        ``stale``: a later copy of the message is on its way or was run; ack.
        ``busy``: the same copy is held by a worker that lives; come back later.
        ``revoked``: the revoke flag is set and the task has not started in this round: end it.
    """

    verdict: str
    state: str | None = None
    handed_over: bool = True
    #: The stored outcome of a ``done`` task that was not handed over.
    result: str | None = None
    error: str | None = None
    deaths: int = 0


class Started(NamedTuple):
    """A claimed attempt has begun to run. Applied only while the token holds. Reply: bool."""

    task_id: str
    token: str
    worker: str
    attempts: int
    now: int


class Progress(NamedTuple):
    """News from a running task. Applied only while the token holds. Reply: bool.

    ``None`` leaves a field as it is. Watchers are told.
    """

    task_id: str
    token: str
    progress: float | None
    message: str | None
    stage: str | None
    meta: str | None


class Stage(NamedTuple):
    """Store the result before the follow-ups that will read it. Reply: bool (token held)."""

    task_id: str
    token: str
    result: str
    result_ttl_ms: int


class Finish(NamedTuple):
    """The outcome of an attempt. Reply: ``ok``, ``lost`` or ``final``.

    ``lost``: another holds the task, or the copy that was sent on has been sent on again; nothing
    was written. ``final``: it had already ended; only ``handed_over`` is noted. Repeating an
    outcome that was written is ``ok``.

    ``state`` is final, ``retrying``, ``snoozed`` or ``queued``. A record that is missing or bears
    no token (it was claimed while Redis was away, or Redis was rolled back) accepts the outcome.
    Watchers are told, of a final state with the result when it is small.
    """

    task_id: str
    token: str
    state: TaskState
    #: The round of the copy that was sent on, else the round of the attempt.
    round: int
    task_name: str
    queue: str
    worker: str
    attempts: int
    created_at: int
    started_at: int | None
    now: int
    #: When a copy that was sent on is due.
    eta: int | None
    result: str | None
    result_ttl_ms: int
    error: str | None
    #: Follow-ups have been published and confirmed (always true when there were none).
    handed_over: bool
    #: How long the record lives from now.
    ttl_ms: int


class Release(NamedTuple):
    """Give a claim back unrun (drain, lost connection). Reply: bool (token held)."""

    task_id: str
    token: str


class Revoke(NamedTuple):
    """Set the durable revoke flag. Reply: the state before, or ``None`` for an id never seen.

    A waiting task that nobody has claimed becomes ``revoked`` at once, and watchers are told; its
    claim will say ``done``, not handed over.
    """

    task_id: str
    now: int
    error: str


class Get(NamedTuple):
    """Read one record. Reply: `TaskRecord` or ``None``."""

    task_id: str


class Watch(NamedTuple):
    """Read one record and ask for its news on ``channel``. Reply: `TaskRecord` or ``None``.

    Nothing is registered for a task that has ended; an id never seen is watched all the same, for
    an hour: its sender's write may be late. News: see `Subscription`.
    """

    task_id: str
    channel: str


class Unwatch(NamedTuple):
    """Take a `Watch` back. Reply: bool."""

    task_id: str
    channel: str


class Beat(NamedTuple):
    """A worker is alive; ``info`` is JSON about it. Reply: bool."""

    worker: str
    info: str
    ttl_ms: int


class Gone(NamedTuple):
    """A worker has ended; its claims are free at once. Reply: bool."""

    worker: str


class Live(NamedTuple):
    """The workers alive now. Reply: ``{worker: info}`` (JSON text each)."""


Operation: TypeAlias = (
    Created
    | SendFailed
    | Claim
    | Started
    | Progress
    | Stage
    | Finish
    | Release
    | Revoke
    | Get
    | Watch
    | Unwatch
    | Beat
    | Gone
    | Live
)

Reply: TypeAlias = ClaimReply | TaskRecord | str | bool | dict[str, str] | None


@dataclass(slots=True, frozen=True)
class Subscription:
    """One listener on a channel; call ``close()`` to end it.

    News of a watched task is JSON text: ``{"id", "state", "progress", "message", "stage",
    "meta"}``, on a final state also ``"error"`` and ``"result"`` (JSON text each), or ``"large"``
    in place of a result that `Get` must fetch. The listener is called on the store's own
    listening thread: be brief.
    """

    close: Callable[[], None]


class StateStore(Protocol):
    """One store, whatever it is made of. Safe to use from one committing thread at a time."""

    def commit(self, operations: Sequence[Operation]) -> list[Reply]:
        """Apply operations in order, in as few round trips as can be (one).

        Raises:
            OperationRefused: one operation is bad; those before it may have been applied.
            StoreUnavailable: nothing, something or all of it was applied; every operation is
                safe to repeat.
        """
        ...

    def publish(self, channel: str, payload: str) -> None:
        """Send a control signal or news to whoever listens now.

        Raises:
            StoreUnavailable: it was not sent.
        """
        ...

    def subscribe(
        self,
        channel: str,
        on_message: Callable[[str], None],
        on_reconnect: Callable[[], None] | None = None,
    ) -> Subscription:
        """Listen to a channel; all channels of a process share one connection.

        ``on_reconnect`` is called each time the subscription is in force again after a break
        (what was said meanwhile is lost: look again). Returns when the subscription is in force,
        or at once when the store is away: then ``on_reconnect`` follows.
        """
        ...

    def check(self) -> dict[str, str]:
        """Facts for ``cifra doctor``: version, persistence, eviction policy, memory.

        Raises:
            StoreUnavailable: no answer.
        """
        ...

    def close(self) -> None:
        """Close the connections; harmless twice. A store used after a fork opens its own."""
        ...
