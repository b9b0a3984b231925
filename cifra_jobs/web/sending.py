"""``POST /api/tasks``: send a task by name; served where it was asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse, Response

from cifra_jobs.app import current_app
from cifra_jobs.errors import ArgumentError, BrokerError, CifraError, OptionError
from cifra_jobs.runtime.by_name import UnknownTask, send_by_name

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["send_task"]

_KNOWN: dict[str, type | tuple[type, ...]] = {
    "args": list,
    "kwargs": dict,
    "delay": (int, float),
    "queue": str,
    "priority": int,
}


_KINDS = {
    "args": "a list",
    "kwargs": "an object",
    "delay": "a number of seconds",
    "queue": "a string",
    "priority": "a whole number from 0 to 9",
}


async def send_task(request: Request) -> Response:
    """Send the task that a JSON object names: ``{"name": "send_email", "args": ["a@b.c"]}``."""
    if (reason := _is_foreign(request)) is not None:
        return JSONResponse({"error": reason}, 403)
    try:
        order = _order(await request.body())
        handle = await send_by_name(current_app().broker.actors, **order)
    except UnknownTask as error:
        return JSONResponse({"error": str(error)}, 404)
    except BrokerError as error:
        return JSONResponse({"error": str(error)}, 503)
    except (ArgumentError, OptionError, CifraError, ValueError) as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse({"id": handle.id}, 202)


def _order(body: bytes) -> dict[str, Any]:
    try:
        order = json.loads(body)
    except ValueError as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(order, dict) or not isinstance(order.get("name"), str):
        raise ValueError('the body must be an object with a "name"')  # noqa: TRY004 - told as 400
    for key, value in order.items():
        if key != "name" and key not in _KNOWN:
            raise ValueError(f"{key!r} is not known; there are name, {', '.join(_KNOWN)}")
        if key in _KNOWN and not isinstance(value, _KNOWN[key]):
            raise ValueError(f"{key} = {value!r} must be {_KINDS[key]}")
    return order


def _is_foreign(request: Request) -> str | None:
    """Why a request is not one of our own pages or of a program; ``None`` if it is."""
    # A foreign page can send a form without asking, but neither this type nor this origin.
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return "the content type must be application/json"
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        return "a page of another origin may not send tasks"
    return None
