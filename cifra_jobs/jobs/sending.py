"""Many calls as one batch: confirms pipelined, memory bounded, whatever the iterable."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from cifra_jobs.errors import ArgumentError
from cifra_jobs.jobs.handle import TaskHandle
from cifra_jobs.jobs.port import Backend, awaited, backend
from cifra_jobs.jobs.signatures import Signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cifra_jobs.jobs.confirms import Sending

__all__ = ["asend_many", "send_many"]

#: Messages sent with one hand-over, and hand-overs on their way at once.
_CHUNK = 500
_AHEAD = 4


def send_many(calls: Iterable[Signature[Any]]) -> list[TaskHandle[Any]]:
    """Send calls, wait for all the confirms, return the handles in order.

    Args:
        calls: signatures, such as ``(t.s(i) for i in range(10_000))``; a generator is read as
            fast as confirms come in.

    Raises:
        ArgumentError: a call does not fit or cannot travel. Chunks before it may have been sent:
            a generator is not read ahead as a whole. A list is checked whole before anything is.
        BrokerUnavailable: some were not confirmed in time; a note says how many.
    """
    handles: list[TaskHandle[Any]] = []
    under_way: deque[Sending] = deque()
    for chunk, sending in _sent(calls):
        handles += chunk
        under_way.append(sending)
        if len(under_way) > _AHEAD:
            under_way.popleft().result()
    for sending in under_way:
        sending.result()
    return handles


async def asend_many(calls: Iterable[Signature[Any]]) -> list[TaskHandle[Any]]:
    """`send_many` for async code: awaits the confirms, never blocks the loop for them."""
    handles: list[TaskHandle[Any]] = []
    under_way: deque[Sending] = deque()
    for chunk, sending in _sent(calls):
        handles += chunk
        under_way.append(sending)
        if len(under_way) > _AHEAD:
            await awaited(under_way.popleft())
    for sending in under_way:
        await awaited(sending)
    return handles


def _sent(
    calls: Iterable[Signature[Any]],
) -> Iterator[tuple[list[TaskHandle[Any]], Sending]]:
    port = backend()
    composed = map(_composed, calls)
    for prepared in _prepared(port, composed, is_whole=isinstance(calls, list | tuple)):
        sending = port.send(prepared)
        handles: list[TaskHandle[Any]] = [TaskHandle(message.message_id) for message, _ in prepared]
        yield handles, sending


def _prepared(
    port: Backend, composed: Iterator[tuple[Any, int]], *, is_whole: bool
) -> Iterator[list[Any]]:
    if is_whole:
        # Bad input is refused whole: all is ready before the first message goes out.
        ready = iter(port.prepare(composed))
        while chunk := list(islice(ready, _CHUNK)):
            yield chunk
    while chunk := list(islice(composed, _CHUNK)):
        yield list(port.prepare(chunk))


def _composed(call: Signature[Any]) -> tuple[Any, int]:
    if not isinstance(call, Signature):
        raise ArgumentError(f"send_many takes signatures, such as t.s(1), not {call!r}")
    return call.task.compose(call.args, call.kwargs, call.options)
