"""`app`: the ASGI application, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from cifra_jobs.errors import StoreUnavailable, TaskNotFound
from cifra_jobs.web.access import TokenGate
from cifra_jobs.web.api import health, no_such_task, readiness, store_away, task_events, task_status
from cifra_jobs.web.page import index
from cifra_jobs.web.sending import send_task

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app"]


def app(
    *,
    token: str | None = None,
    public_status: bool = False,
    allowed_origins: Sequence[str] = (),
    can_send: bool = False,
) -> Starlette:
    """An ASGI application with the status of tasks over HTTP.

    Mounted in a FastAPI or Starlette service (``service.mount("/", cifra_jobs.web.app())``) it
    uses that process's configuration, and the service's own access rules decide.

    Args:
        token: whoever does not show it is refused; ``None`` asks for none.
        public_status: with a token, let status and events of a task through without it: an id is
            hard to guess, and whoever has it may know what became of the task.
        allowed_origins: web pages of these origins may read; ``*`` is any. Preflights are
            answered.
        can_send: serve ``POST /api/tasks`` as well, which sends a task by name.
    """
    middleware = []
    if allowed_origins:
        middleware.append(
            Middleware(CORSMiddleware, allow_origins=list(allowed_origins), allow_methods=["GET"])
        )
    if token is not None:
        middleware.append(Middleware(TokenGate, token=token, public_status=public_status))
    routes = [
        Route("/", index),
        Route("/api/tasks/{task_id}", task_status),
        Route("/api/tasks/{task_id}/events", task_events),
        Route("/healthz", health),
        Route("/readyz", readiness),
    ]
    if can_send:
        routes.append(Route("/api/tasks", send_task, methods=["POST"]))
    return Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={TaskNotFound: no_such_task, StoreUnavailable: store_away},
    )
