"""What a task is to one worker: its options, its policies and hooks, and which executor runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dramatiq.asyncio import async_to_sync

from cifra_jobs.errors import DecodeError, OptionError
from cifra_jobs.jobs.options import RunOptions
from cifra_jobs.jobs.tasks import Task
from cifra_jobs.middleware import Bound, bind

if TYPE_CHECKING:
    import dramatiq

    from cifra_jobs.app import App
    from cifra_jobs.middleware.attempt import Attempt
    from cifra_jobs.middleware.base import Chain
    from cifra_jobs.middleware.hooks import DramatiqHooks

__all__ = ["Bindings"]


async def _sample() -> None: ...


#: The code of Dramatiq's bridge from a coroutine function to its own loop thread.
_BRIDGE = async_to_sync(_sample).__code__


class Bindings:
    """Looked up once for each task, and again when a middleware was added.

    Args:
        app: whose broker and settings.
        mode: of the worker: ``async`` has no thread for plain functions.
    """

    def __init__(self, app: App, mode: str) -> None:
        self._app = app
        self._mode = mode
        self._bound: dict[tuple[int, bool], tuple[int, Bound]] = {}
        #: By task, for runs without options of their own: settings do not change under a worker.
        self._options: dict[str, RunOptions] = {}

    def chain_of(self, attempt: Attempt) -> Chain:
        """The policies bound to the attempt's task."""
        return self._bound_to(attempt).chain

    def hooks_of(self, attempt: Attempt) -> DramatiqHooks | None:
        """Dramatiq's hooks, where any have seen the attempt."""
        return None if attempt.proxy is None else self._bound_to(attempt).hooks

    def options_of(
        self, actor: dramatiq.Actor[Any, Any], message_options: dict[str, Any]
    ) -> RunOptions:
        """What holds for a run of a task with the options of its message.

        Raises:
            DecodeError: an option of the message is unknown or has a bad value.
        """
        if isinstance(actor, Task):
            overrides = message_options.get("set")
            if overrides:
                try:
                    return actor.resolved(actor.check_call_options(overrides))
                except (OptionError, AttributeError) as error:
                    raise DecodeError(f"an option of the message: {error}") from error
            found = self._options.get(actor.actor_name)
            if found is None:
                found = self._options[actor.actor_name] = actor.resolved()
            return found
        # Dramatiq's middleware carries these rules; only an async actor's limit is ours to keep,
        # since raising in the event loop's thread would hit whichever task runs there.
        limit_ms = None
        if self.is_async(actor):
            declared = actor.options.get("time_limit", 600_000)
            limit_ms = message_options.get("time_limit", declared)
            if limit_ms is not None and not isinstance(limit_ms, int | float):
                raise DecodeError(f"option 'time_limit' of the message is {limit_ms!r}")
        return RunOptions(
            store_result=False, timeout_s=None if limit_ms is None else limit_ms / 1000
        )

    def can_run(self, actor: dramatiq.Actor[Any, Any]) -> bool:
        """Whether an executor of this worker can: mode ``async`` has no thread for plain ones."""
        return self._mode != "async" or self.is_async(actor)

    def is_async(self, actor: dramatiq.Actor[Any, Any]) -> bool:
        """Whether the event loop runs it."""
        if isinstance(actor, Task):
            return actor.is_async
        return getattr(actor.fn, "__code__", None) is _BRIDGE

    def _bound_to(self, attempt: Attempt) -> Bound:
        broker = self._app.broker
        has_pipe = "pipe_target" in attempt.message.options
        key = (id(attempt.actor), has_pipe)
        found = self._bound.get(key)
        if found is not None and found[0] == broker.middleware_version:
            return found[1]
        bound = bind(
            broker,
            self._app.settings,
            attempt.actor,
            is_async=attempt.is_async,
            has_pipe=has_pipe,
        )
        self._bound[key] = (broker.middleware_version, bound)
        return bound
