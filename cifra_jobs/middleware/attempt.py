"""`Attempt`: one run of one task, from its delivery to its settlement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cifra_jobs.jobs.privacy import Veil, values_at
from cifra_jobs.jobs.tasks import Task

if TYPE_CHECKING:
    import dramatiq
    from dramatiq.broker import MessageProxy

    from cifra_jobs.brokers.base import Consumer, Delivery
    from cifra_jobs.jobs.options import RunOptions

__all__ = ["Attempt"]


@dataclass(slots=True, eq=False)
class Attempt:
    """One run of one task, from its delivery to its settlement."""

    message: dramatiq.Message[Any]
    actor: dramatiq.Actor[..., Any]
    options: RunOptions
    #: How many times this message was sent on, by retry or snooze: the fence of a stale copy.
    round: int
    #: Retries used before this run (0 on the first run).
    retries: int
    #: Random; only its holder may write the outcome.
    token: str
    #: Where it came from: settled there, once everything that follows is confirmed.
    delivery: Delivery
    consumer: Consumer
    #: Whether the function is ``async def``.
    is_async: bool
    #: Lowest first inside the worker, as in Dramatiq.
    rank: int
    #: Dramatiq's view of the message, made when a Dramatiq middleware is bound to the task.
    proxy: MessageProxy | None = None
    #: Set once the function is called, ms since the epoch.
    started_at: int | None = None
    #: Acked before the run (``acks="early"``): settlement has nothing left to ack.
    is_acked: bool = False
    #: Runs that ended with their process, where that is why this one ends.
    lost_runs: int = 0
    #: The traceback of the last failure as text, its sensitive arguments masked.
    traceback: str = ""

    def masked(self, text: str) -> str:
        """A text about this run without the values of the task's ``sensitive`` arguments."""
        veil = self.veil()
        return text if veil is None else veil.text(text)

    def veil(self) -> Veil | None:
        """What hides the task's ``sensitive`` arguments, if it has any."""
        hidden = self.actor.hidden if isinstance(self.actor, Task) else ()
        if not hidden:
            return None
        return Veil(values_at(self.message.args, self.message.kwargs, hidden))
