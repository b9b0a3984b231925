"""The status of a task as server-sent events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from cifra_jobs.jobs.handle import TaskHandle, TaskStatus

__all__ = ["ENDED", "events_of"]

#: The id of the last event. A browser shows it when it comes back after the end.
ENDED = "ended"
#: Seconds of silence after which a comment is sent: proxies close what looks dead.
_KEEP_ALIVE_S = 15.0


async def events_of(handle: TaskHandle[Any]) -> AsyncIterator[bytes]:
    """One event for the status now and for each change; the stream ends with the task."""
    changes = cast("AsyncGenerator[TaskStatus]", handle.follow())
    following: asyncio.Future[TaskStatus] = asyncio.ensure_future(anext(changes))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=_KEEP_ALIVE_S)
            if not done:
                yield b": still here\n\n"
                continue
            status = following.result()
            yield _event(status)
            if status.is_terminal:
                return
            following = asyncio.ensure_future(anext(changes))
    finally:
        following.cancel()
        await asyncio.wait({following})
        await changes.aclose()


def _event(status: TaskStatus) -> bytes:
    mark = f"id: {ENDED}\n".encode() if status.is_terminal else b""
    return mark + b"data: " + orjson.dumps(status.as_dict()) + b"\n\n"
