"""`Broker`: what Dramatiq's actors, messages and middleware see; it sends through a `Transport`.

It knows names and order only. Connections belong to the application above it (`app.py`), which is
asked for them when the first message is sent.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.broker import Broker as DramatiqBroker
from dramatiq.common import q_name
from dramatiq.errors import QueueJoinTimeout
from dramatiq.middleware import default_middleware

from cifra_jobs.brokers.pull import PullConsumer
from cifra_jobs.clock import now_ms
from cifra_jobs.errors import UnknownQueue
from cifra_jobs.jobs.outcome import FollowUp
from cifra_jobs.jobs.port import confirm
from cifra_jobs.jobs.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cifra_jobs.brokers.base import Transport
    from cifra_jobs.jobs.confirms import Sending

__all__ = ["Broker", "captured"]

#: While hooks of an attempt run: what they enqueue is kept for settlement.
_capturing: ContextVar[list[FollowUp] | None] = ContextVar("cifra_capturing", default=None)


@contextmanager
def captured() -> Iterator[list[FollowUp]]:
    """Keep what is enqueued inside as follow-ups instead of sending it."""
    follow_ups: list[FollowUp] = []
    token = _capturing.set(follow_ups)
    try:
        yield follow_ups
    finally:
        _capturing.reset(token)


class Broker(DramatiqBroker):
    """Registry of actors and queues, and the way out for messages.

    Args:
        transport: gives the transport; called at the first send, not before.
        dispatch: sends messages, each with a delay in ms, as one batch; see `App.dispatch`.
        middleware: instead of Dramatiq's defaults, which hold for plain actors.
    """

    def __init__(
        self,
        transport: Callable[[], Transport],
        dispatch: Callable[..., Sending],
        middleware: list[dramatiq.Middleware] | None = None,
    ) -> None:
        self._transport = transport
        self._dispatch = dispatch
        self._booted_pid: int | None = None
        #: Grows whenever hooks bound to tasks may be out of date.
        self.middleware_version = 0
        #: Which hooks around enqueueing any middleware overrides, and as of which version.
        self._enqueue_hooks: tuple[int, set[str]] = (-1, set())
        if middleware is None:
            # Prometheus' own middleware serves a port of its own; ours is served by the worker.
            middleware = [m() for m in default_middleware if m.__name__ != "Prometheus"]
        super().__init__(middleware)

    def boot(self) -> None:
        """Tell the middleware, once in each process, that this process begins to run tasks."""
        if self._booted_pid != os.getpid():
            self._booted_pid = os.getpid()
            self.emit_after("process_boot")

    def add_middleware(self, middleware: dramatiq.Middleware, **place: Any) -> None:
        """Add a Dramatiq middleware; it holds from the next message on."""
        super().add_middleware(middleware, **place)
        self.middleware_version += 1

    def declare_actor(self, actor: dramatiq.Actor[Any, Any]) -> None:
        """Register an actor and its queue; opens nothing."""
        super().declare_actor(actor)
        self.middleware_version += 1

    def declare_queue(self, queue_name: str) -> None:
        """Register a queue; the server learns of it at the first send or when a worker starts."""
        queue_name = q_name(queue_name)
        if queue_name in self.queues:
            return
        self.emit_before("declare_queue", queue_name)
        self.queues[queue_name] = None
        self.emit_after("declare_queue", queue_name)

    # -- out -----------------------------------------------------------------------------------

    def enqueue(
        self, message: dramatiq.Message[Any], *, delay: int | None = None
    ) -> dramatiq.Message[Any]:
        """Send a message and wait for the confirm.

        Inside a hook of a running attempt it becomes a follow-up, published by settlement before
        the attempt's delivery is acked.

        Args:
            message: what to send.
            delay: ms to hold it for, inside RabbitMQ.

        Raises:
            ArgumentError: the arguments do not fit the task, or cannot travel as JSON; nothing
                was sent.
            BrokerUnavailable: no confirm within ``publish_timeout``; the outcome is unknown.
            UnknownQueue: nobody declared the queue.
        """
        message = self.delayed(message, delay)
        follow_ups = _capturing.get()
        if follow_ups is not None:
            follow_ups.append(FollowUp(message, delay or 0))
            return message
        actor = self.actors.get(message.actor_name)
        if isinstance(actor, Task):
            actor.check_call(message.args, message.kwargs)
        self.emit_enqueue("before_enqueue", message, delay)
        confirm(self._dispatch([(message, delay or 0)], awaits_records=False), message.message_id)
        self.emit_enqueue("after_enqueue", message, delay)
        return message

    def delayed(self, message: dramatiq.Message[Any], delay: int | None) -> dramatiq.Message[Any]:
        """The message with its due time in it, where a delay asks for one."""
        if delay is None or "eta" in message.options:
            return message
        return message.copy(options={"eta": now_ms() + delay})

    def emit_enqueue(self, hook: str, message: dramatiq.Message[Any], delay: int | None) -> None:
        """Call the middleware that overrides a hook around enqueueing; often there is none."""
        if not self.observes(hook):
            return
        if hook == "before_enqueue":
            self.emit_before("enqueue", message, delay)
        else:
            self.emit_after("enqueue", message, delay)

    def observes(self, hook: str) -> bool:
        """Whether any middleware overrides ``before_enqueue`` or ``after_enqueue``."""
        version, hooks = self._enqueue_hooks
        if version != self.middleware_version:
            hooks = {
                name
                for name in ("before_enqueue", "after_enqueue")
                for m in self.middleware
                if getattr(type(m), name) is not getattr(dramatiq.Middleware, name)
            }
            self._enqueue_hooks = (self.middleware_version, hooks)
        return hook in hooks

    # -- in, as Dramatiq asks for it -----------------------------------------------------------

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30_000) -> PullConsumer:
        """An iterator over a queue, for tools and tests; workers do not use it.

        Args:
            queue_name: a declared queue.
            prefetch: how many messages to hold at most.
            timeout: ms that an iteration waits before it gives ``None``.

        Raises:
            UnknownQueue: the queue was never declared.
        """
        queue_name = self._declared(queue_name)
        transport = self._transport()
        transport.declare([queue_name])
        return PullConsumer(transport, queue_name, prefetch=prefetch, timeout_ms=timeout)

    def flush(self, queue_name: str) -> None:
        """Drop every ready message of a queue."""
        queue_name = self._declared(queue_name)
        transport = self._transport()
        transport.declare([queue_name])
        transport.purge(queue_name)

    def flush_all(self) -> None:
        """Drop every ready message of every declared queue and of their dead-letter queues."""
        for queue_name in self.queues:
            self.flush(queue_name)
            self._transport().purge(queue_name, dead=True)

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """Ready, delayed (not told by RabbitMQ: 0) and dead messages of a queue."""
        counts = self._transport().counts(self._declared(queue_name))
        return counts.ready, 0, counts.dead

    def join(
        self,
        queue_name: str,
        min_successes: int = 10,
        idle_time: int = 100,
        *,
        timeout: int | None = None,
    ) -> None:
        """Wait until a queue looks empty, for tests of code that knows Dramatiq.

        The server is asked again and again, as Dramatiq's own brokers do: AMQP has no event for
        "empty". New code waits on handles.

        Raises:
            QueueJoinTimeout: ``timeout`` (ms) was up.
        """
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        successes = 0
        while successes < min_successes:
            if deadline is not None and time.monotonic() >= deadline:
                raise QueueJoinTimeout(queue_name)
            ready, _, _ = self.get_queue_message_counts(queue_name)
            successes = successes + 1 if ready == 0 else 0
            if successes < min_successes:
                time.sleep(idle_time / 1000)  # noqa: TID251 - AMQP has no event for "empty"

    def close(self) -> None:
        """Nothing of its own to close: the application owns the connections."""

    def _declared(self, queue_name: str) -> str:
        queue_name = q_name(queue_name)
        if queue_name not in self.queues:
            raise UnknownQueue(
                f"queue {queue_name!r} is not declared; there are:"
                f" {', '.join(self.queues) or 'none'}"
            )
        return queue_name
