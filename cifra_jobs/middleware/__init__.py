"""Policies: what becomes of a run. The default chain, in order, and why in that order.

``before`` runs downwards, ``after`` upwards:

1. `Callbacks` last of all: they follow from the final outcome only.
2. `Retries` turns a failure into a retry or the end, after everybody has seen the failure.
3. `Results` encodes before a callback or the store needs the text; it may turn a success into the
   end, which is not retried.
4. `Expiry` refuses a late run before any hook hears of it.
5. Dramatiq's hooks closest to the run: they see what the function did, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifra_jobs.jobs.tasks import Task
from cifra_jobs.middleware.base import Chain, Policy
from cifra_jobs.middleware.callbacks import Callbacks
from cifra_jobs.middleware.expiry import Expiry
from cifra_jobs.middleware.hooks import DramatiqHooks, hooked
from cifra_jobs.middleware.results import Results
from cifra_jobs.middleware.retries import Retries

if TYPE_CHECKING:
    import dramatiq

    from cifra_jobs.config import Settings

__all__ = ["Bound", "bind"]


class Bound:
    """What is bound to one task: its chain, and Dramatiq's hooks where any concern it."""

    __slots__ = ("chain", "hooks")

    def __init__(self, chain: Chain, hooks: DramatiqHooks | None) -> None:
        self.chain = chain
        self.hooks = hooks


def bind(
    broker: dramatiq.Broker,
    settings: Settings,
    actor: dramatiq.Actor[Any, Any],
    *,
    is_async: bool,
    has_pipe: bool,
) -> Bound:
    """The chain for a task. Plain actors have Dramatiq's own rules instead of ours."""
    is_task = isinstance(actor, Task)
    hooks = hooked(
        broker,
        is_task=is_task,
        is_async=is_async,
        has_pipe=has_pipe,
        is_notified=bool(actor.options.get("notify_shutdown")),
    )
    results = Results(settings.result_backend.max_result_size)
    policies: list[Policy] = [results]
    if is_task:
        policies = [
            Callbacks(broker),
            Retries(),
            results,
            Expiry(dead_letter=settings.dead_letter_expired),
        ]
    if hooks is not None:
        policies.append(hooks)
    return Bound(Chain(policies), hooks)
