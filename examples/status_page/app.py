"""A web service that sends tasks, and lets the browser follow them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from cifra_jobs import configure, current_app, current_task, task
from cifra_jobs.runtime.worker import Worker
from cifra_jobs.web import app as status_api


@task
async def export(rows: int) -> str:
    for row in range(rows):
        await asyncio.sleep(0.1)
        await current_task.update_progress(100 * (row + 1) / rows, f"{row + 1} rows")
    return "export.csv"


async def start(request: Request) -> JSONResponse:
    handle = await export.delay(int(request.path_params["rows"]))
    return JSONResponse({"id": handle}, 202)  # a handle is a str


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    worker = Worker(current_app())  # in a deployment: another process
    await asyncio.to_thread(worker.start)
    yield
    await asyncio.to_thread(worker.stop)


service = Starlette(
    routes=[
        Route("/exports/{rows:int}", start, methods=["POST"]),
        Mount("/", status_api()),  # GET /api/tasks/ID, /api/tasks/ID/events, and a page
    ],
    lifespan=lifespan,
)

if __name__ == "__main__":
    configure(broker={"type": "memory"}, result_backend={"type": "memory"})
    uvicorn.run(service, port=int(os.environ.get("PORT", "8000")), log_level="warning")
