"""`Task`, a `dramatiq.Actor` that knows its signature and options, and the ``@task`` decorator."""

from __future__ import annotations

import functools
import inspect
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

import dramatiq

from cifra_jobs.clock import now_ms
from cifra_jobs.errors import OptionError
from cifra_jobs.jobs.calls import call_checker, check_names, is_self_first, reads_free_self
from cifra_jobs.jobs.current import bound_run, current_task
from cifra_jobs.jobs.envelope import id_of, wire_options
from cifra_jobs.jobs.handle import TaskHandle
from cifra_jobs.jobs.message import make
from cifra_jobs.jobs.options import CALL_KEYWORDS, RunOptions, normalize, run_options
from cifra_jobs.jobs.port import backend
from cifra_jobs.jobs.privacy import hidden_places
from cifra_jobs.jobs.signatures import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from cifra_jobs.config import Settings

__all__ = ["Task", "task"]

P = ParamSpec("P")
R = TypeVar("R")


class Task(dramatiq.Actor[P, R], Generic[P, R]):
    """A function that workers run. Calling it runs it here and now.

    Made by `task`; not by hand.

    Attributes:
        declared: the decorator's options under their canonical names.
        is_async: whether the function is ``async def``.
        is_bound: whether `current_task` is passed as first argument.
        hidden: where its ``sensitive`` arguments stand; see ``jobs/privacy.py``.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        broker: dramatiq.Broker,
        declared: dict[str, Any],
    ) -> None:
        self.declared = declared
        name = declared.get("name") or fn.__name__
        first = broker.actors.get(name)
        if first is not None:
            raise OptionError(
                f"a task named {name!r} is already declared at {_place_of(first.fn)};"
                f" give the one at {_place_of(fn)} another name"
            )
        if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
            raise OptionError(f"task {name!r} is a generator; a task must return its result")
        self.is_async = inspect.iscoroutinefunction(fn)
        if self.is_async and declared.get("notify_shutdown"):
            raise OptionError(
                f"task {name!r}: 'notify_shutdown' interrupts a thread, and this is an async task;"
                " it is cancelled when the worker's shutdown_grace is over"
            )
        self.is_bound = declared.get("bind", is_self_first(fn))
        self._check = call_checker(fn, name, skip_first=self.is_bound)
        sensitive = declared.get("sensitive", ())
        check_names(fn, sensitive, f"task {name!r}: 'sensitive'")
        self.hidden = hidden_places(fn, sensitive, skip_first=self.is_bound)
        body = inspect.unwrap(fn)
        if reads_free_self(body):
            body.__globals__["self"] = current_task
        # Before it is registered: a worker that hears of it asks for its queue.
        self._resolved: tuple[Settings, RunOptions, str] | None = None
        super().__init__(
            fn,
            broker=broker,
            actor_name=name,
            queue_name=declared.get("queue", "default"),
            # In Dramatiq's worker the lowest number runs first.
            priority=9 - declared.get("priority", 5),
            options={},
        )
        # The coroutine function itself: our event loop runs it without Dramatiq's thread bridge.
        self.fn = fn
        self.options = {**declared, **_dramatiq_names(declared)}
        functools.update_wrapper(self, fn)

    # -- running it here -----------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Run the function here and now; an ``async`` one gives its coroutine."""
        if self.is_bound:
            return self.fn(current_task, *args, **kwargs)  # type: ignore[arg-type]
        return self.fn(*args, **kwargs)

    # -- sending -------------------------------------------------------------------------------

    def message(self, *args: P.args, **kwargs: P.kwargs) -> dramatiq.Message[R]:
        """The message of a call, not sent.

        Whether its arguments fit is judged when it is enqueued: a pipeline adds one more.
        """
        return self.envelope(args, kwargs, {})[0]

    def message_with_options(
        self, *, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **options: Any
    ) -> dramatiq.Message[R]:
        """The message of a call with options, not sent."""
        return self.envelope(tuple(args), kwargs or {}, options)[0]

    def send(self, *args: P.args, **kwargs: P.kwargs) -> dramatiq.Message[R]:
        """Send a call, wait for RabbitMQ's confirm, return the message.

        Raises:
            ArgumentError: the arguments do not fit, or cannot travel as JSON; nothing was sent.
            BrokerUnavailable: no confirm within ``publish_timeout``; the outcome is unknown.
            UnknownQueue: nobody declared the task's queue.
        """
        message, delay_ms = self.envelope(args, kwargs, {})
        return self.broker.enqueue(message, delay=delay_ms or None)

    def send_with_options(
        self,
        *,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        delay: timedelta | int | None = None,
        **options: Any,
    ) -> dramatiq.Message[R]:
        """`send` with options; ``delay`` in Dramatiq's milliseconds or a ``timedelta``."""
        if delay is not None:
            seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay / 1000
            options["countdown"] = seconds
        message, delay_ms = self.envelope(tuple(args), kwargs or {}, options)
        return self.broker.enqueue(message, delay=delay_ms or None)

    async def asend(self, *args: P.args, **kwargs: P.kwargs) -> dramatiq.Message[R]:
        """`send` for async code: awaits the confirm, never blocks the loop."""
        message, delay_ms = self.compose(args, kwargs, {})
        await self._dispatch(message, delay_ms)
        return message

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Send a call and get its handle.

        With no running event loop it blocks for the confirm and raises. In a loop it returns at
        once and the message goes out all the same; ``await`` it to await the confirm. A failure
        that nobody awaits is logged as an error and sets the task's state to ``failed``.

        Raises:
            ArgumentError: the arguments do not fit, or cannot travel as JSON; nothing was sent.
        """
        return self._dispatched(*self.compose(args, kwargs, {}))

    def apply_async(
        self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **options: Any
    ) -> TaskHandle[R]:
        """`delay` with options.

        Args:
            args: positional arguments.
            kwargs: keyword arguments.
            **options: any task option that a call may set (``queue``, ``priority``, ``expires``,
                ``retry``, ``timeout``, ``ignore_result``, …), and ``countdown`` (s), ``eta``
                (datetime), ``task_id``, ``headers`` (JSON values for ``current_task.request``),
                ``link`` and ``link_error`` (signatures).

        Raises:
            OptionError: an unknown or bad option; nothing was sent.
        """
        return self._dispatched(*self.compose(tuple(args), kwargs or {}, options))

    def apply_at(self, when: datetime, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Send a call that runs at ``when``; a naive datetime is in this process's local zone."""
        return self._dispatched(*self.compose(args, kwargs, {"eta": when}))

    async def apply(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Send a call, wait, return the result; raises what the task raised."""
        handle = await self.delay(*args, **kwargs)
        return await handle.get()

    def apply_sync(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """`apply` for plain code: blocks."""
        message, delay_ms = self.envelope(args, kwargs, {})
        self.broker.enqueue(message, delay=delay_ms or None)
        handle: TaskHandle[R] = TaskHandle(message.message_id)
        return handle.result()

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """A call not yet sent; more arguments may be put before these when it is."""
        return Signature(self.actor_name, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """A call not yet sent that takes no more arguments."""
        return Signature(self.actor_name, args, kwargs, immutable=True)

    signature = s

    # -- options -------------------------------------------------------------------------------

    def resolved(self, overrides: Mapping[str, Any] | None = None) -> RunOptions:
        """What holds for a run: message > route > decorator > ``task_defaults`` > settings.

        Raises:
            OptionError: a route or a default in the settings names an unknown or bad option.
        """
        settings = backend().settings
        if self._resolved is None or self._resolved[0] is not settings:
            self._resolve(settings)
        if not overrides:
            return self._resolved[1]  # type: ignore[index]
        return run_options({**self._canonical(settings), **overrides})

    @property
    def queue(self) -> str:
        """The queue that calls go to: that of an exact route, else the declared one."""
        settings = backend().settings
        if self._resolved is None or self._resolved[0] is not settings:
            self._resolve(settings)
        return self._resolved[2]  # type: ignore[index]

    def check_call_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The canonical form of the options of one call; refuses what a call cannot set."""
        return normalize(
            {name: value for name, value in options.items() if name not in CALL_KEYWORDS},
            owner=f"task {self.actor_name!r}",
            per_call=True,
            extra=self.broker.actor_options,
            keywords=CALL_KEYWORDS,
        )

    def _resolve(self, settings: Settings) -> None:
        canonical = self._canonical(settings)
        self._resolved = (settings, run_options(canonical), canonical.get("queue", "default"))

    def _canonical(self, settings: Settings) -> dict[str, Any]:
        retry = settings.retry
        owner = f"task {self.actor_name!r}"
        defaults = normalize(settings.task_defaults, owner=f"task_defaults of {owner}")
        route = settings.task_routes.get(self.actor_name) or {}
        routed = normalize(route, owner=f"task_routes of {owner}", per_call=True)
        return {
            "retry": retry.max_retries,
            "retry_delay": retry.default_retry_delay,
            "retry_backoff": retry.retry_backoff,
            "retry_backoff_max": retry.retry_backoff_max,
            "retry_jitter": retry.retry_jitter,
            "result_expires": settings.result_backend.expires,
            **defaults,
            **self.declared,
            **routed,
        }

    # -- inside --------------------------------------------------------------------------------

    def check_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse arguments that do not fit the function.

        Raises:
            ArgumentError: with the signature, and what does not fit.
        """
        self._check(args, kwargs)

    def compose(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> tuple[dramatiq.Message[R], int]:
        """The message of a call and its delay in ms; every refusal happens here."""
        self._check(args, kwargs)
        return self.envelope(args, kwargs, options)

    def envelope(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> tuple[dramatiq.Message[R], int]:
        """`compose` for arguments whose fit somebody else judges: the broker or the worker.

        Raises:
            OptionError: an unknown or bad option.
        """
        now = now_ms()
        overrides = self.check_call_options(options) if options else {}
        queue = overrides.pop("queue", None) or self.queue
        expires = overrides.pop("expires", self.resolved().expires)
        on_wire = wire_options(options, overrides, expires=expires, now=now)
        run = bound_run.get()
        if run is not None:
            on_wire["root_id"] = run.request.root_id
            on_wire["parent_id"] = run.request.id
        message: dramatiq.Message[R] = make(
            queue, self.actor_name, args, kwargs, on_wire, id_of(options), now
        )
        return message, max(0, on_wire.get("eta", now) - now)

    def _dispatch(self, message: dramatiq.Message[R], delay_ms: int) -> TaskHandle[R]:
        handle: TaskHandle[R] = TaskHandle(message.message_id)
        port = backend()
        handle.sending = port.send(port.prepare([(message, delay_ms)]))
        return handle

    def _dispatched(self, message: dramatiq.Message[R], delay_ms: int) -> TaskHandle[R]:
        handle = self._dispatch(message, delay_ms)
        handle.settle_in_context()
        return handle

    def __repr__(self) -> str:
        return f"<task {self.actor_name!r} on queue {self.queue_name!r}>"


@overload
def task(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: Any) -> TaskDecorator: ...
def task(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Declare a task: ``@task`` or ``@task(**options)`` on a plain or an ``async`` function.

    Args:
        fn: the function.
        **options: see ``docs/reference/options.md``; an unknown one is an error at import that
            names the nearest valid one.

    Raises:
        OptionError: an unknown or bad option, or a name that is taken.
        NotYetBuilt: an option of a later release.
    """
    broker = backend().broker
    if fn is None:
        return lambda function: _declare(function, broker, options)
    return _declare(fn, broker, options)


class TaskDecorator:
    """The type of ``task(**options)``."""

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, fn: Callable[..., Any], /) -> Any:
        """Declare ``fn``."""
        raise NotImplementedError


def _declare(
    fn: Callable[..., Any], broker: dramatiq.Broker, options: dict[str, Any]
) -> Task[Any, Any]:
    if not callable(fn) or not hasattr(fn, "__name__"):
        raise OptionError(
            f"@task wants a function, got {fn!r}; options are keywords: @task(retry=3)"
        )
    name = options.get("name") or options.get("actor_name") or fn.__name__
    declared = normalize(options, owner=f"task {name!r}", extra=broker.actor_options)
    return Task(fn, broker=broker, declared=declared)


def _dramatiq_names(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Declared options as third-party Dramatiq middleware reads them."""
    names: dict[str, tuple[str, int | None]] = {
        "retry": ("max_retries", 1),
        "retry_delay": ("min_backoff", 1000),
        "retry_backoff_max": ("max_backoff", 1000),
        "timeout": ("time_limit", 1000),
        "no_retry_for": ("throws", None),
        "store_result": ("store_results", None),
        "result_expires": ("result_ttl", 1000),
        "retry_when": ("retry_when", None),
    }
    return {
        theirs: declared[ours]
        if factor is None or declared[ours] is None
        else int(declared[ours] * factor)
        for ours, (theirs, factor) in names.items()
        if ours in declared
    }


def _place_of(fn: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(fn)
