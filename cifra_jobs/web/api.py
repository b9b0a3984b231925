"""What is asked over HTTP about a task, and about the server itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from cifra_jobs.app import current_app
from cifra_jobs.errors import CifraError, TaskNotFound
from cifra_jobs.jobs.handle import TaskHandle, TaskStatus
from cifra_jobs.web.stream import ENDED, events_of

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = [
    "health",
    "no_such_task",
    "readiness",
    "store_away",
    "task_events",
    "task_status",
]

#: Seconds that a readiness probe waits for the store.
_PROBE_TIMEOUT_S = 3.0
#: A status is out of date the moment it is sent.
_FRESH = {"Cache-Control": "no-store"}


async def task_status(request: Request) -> Response:
    """``GET /api/tasks/{id}``: what is known of a task now."""
    status = await TaskStatus.get(request.path_params["task_id"])
    return JSONResponse(status.as_dict(), headers=_FRESH)


async def task_events(request: Request) -> Response:
    """``GET /api/tasks/{id}/events``: the same at each change, until the end."""
    # A browser's EventSource comes back after every end of a stream; 204 tells it not to.
    if request.headers.get("last-event-id") == ENDED:
        return Response(status_code=204)
    handle: TaskHandle[Any] = TaskHandle(request.path_params["task_id"])
    # Asked before the stream begins: an unknown id must be a 404 and not a stream that breaks.
    await handle.status()
    return StreamingResponse(
        events_of(handle),
        media_type="text/event-stream",
        # nginx would hold events back until its buffer is full.
        headers=_FRESH | {"X-Accel-Buffering": "no"},
    )


async def health(_request: Request) -> Response:
    """``GET /healthz``: the process lives."""
    return PlainTextResponse("ok\n")


async def readiness(_request: Request) -> Response:
    """``GET /readyz``: the store answers, so questions about tasks can be answered."""
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            await run_in_threadpool(current_app().store.check)
    except TimeoutError:
        return PlainTextResponse("not ready: the store does not answer in time\n", 503)
    except CifraError as error:
        return PlainTextResponse(f"not ready: {error}\n", 503)
    return PlainTextResponse("ready\n")


async def no_such_task(_request: Request, error: Exception) -> Response:
    """The answer for an id that was never seen."""
    task_id = error.task_id if isinstance(error, TaskNotFound) else None
    return JSONResponse({"id": task_id, "error": str(error)}, 404, _FRESH)


async def store_away(_request: Request, error: Exception) -> Response:
    """The answer while the store is away: come back."""
    return JSONResponse({"error": str(error)}, 503, _FRESH | {"Retry-After": "1"})
