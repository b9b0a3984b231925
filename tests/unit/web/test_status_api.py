"""The HTTP API over an application in memory: real sockets, a real worker, no servers."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

import cifra_jobs.web
from cifra_jobs.app import App
from cifra_jobs.config import Settings
from cifra_jobs.jobs.current import current_task
from cifra_jobs.jobs.tasks import Task, task
from cifra_jobs.runtime.worker import Worker
from cifra_jobs.web.server import bind

ORIGIN = "https://shop.example"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[App]:
    monkeypatch.chdir(tmp_path)
    made = App(Settings(broker={"type": "memory"}))
    made.install()
    yield made
    made.close()


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


@pytest.fixture
def import_rows(app: App, gate: threading.Event) -> Task[[int], dict[str, int]]:
    @task(name="import_rows", retry=0)
    def import_rows(count: int) -> dict[str, int]:
        current_task.update_progress(40, "two of five", file="a.csv")
        assert gate.wait(30)
        if count < 0:
            raise ValueError("less than nothing")
        return {"imported": count}

    return import_rows


@pytest.fixture
def worker(app: App, import_rows: Any) -> Iterator[Worker]:
    made = Worker(app, queues=["default"], concurrency=2)
    made.start()
    yield made
    made.stop(5)


class Server:
    """Serves an ASGI application on a port of its own, on a thread."""

    def __init__(self, served: Any) -> None:
        self.listener = bind("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        config = uvicorn.Config(served, log_config=None, lifespan="off")
        config.timeout_graceful_shutdown = 1
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],), daemon=True)

    def __enter__(self) -> str:
        self.thread.start()
        return self.url

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        self.listener.close()


@pytest.fixture
async def client(app: App) -> AsyncIterator[httpx.AsyncClient]:
    with Server(cifra_jobs.web.app(can_send=True)) as url:
        async with httpx.AsyncClient(base_url=url, timeout=20) as made:
            yield made


async def events(client: httpx.AsyncClient, task_id: str) -> AsyncIterator[dict[str, Any]]:
    async with client.stream("GET", f"/api/tasks/{task_id}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


async def test_a_front_end_polls_a_task_from_pending_to_its_result(
    client: httpx.AsyncClient, import_rows: Any, gate: threading.Event, app: App
) -> None:
    handle = await import_rows.delay(5)
    waiting = (await client.get(f"/api/tasks/{handle}")).json()
    assert (waiting["id"], waiting["status"], waiting["is_terminal"]) == (handle, "pending", False)
    worker = Worker(app, queues=["default"], concurrency=1)
    worker.start()
    try:
        gate.set()
        await handle.get(timeout=20)
        answer = await client.get(f"/api/tasks/{handle}")
    finally:
        worker.stop(5)
    done = answer.json()
    assert (done["status"], done["result"], done["error"]) == ("success", {"imported": 5}, None)
    assert done["finished_at"].startswith("20")
    assert answer.headers["cache-control"] == "no-store"


async def test_an_unknown_task_is_a_404_in_json(client: httpx.AsyncClient) -> None:
    for path in ("/api/tasks/nobody", "/api/tasks/nobody/events"):
        answer = await client.get(path)
        assert answer.status_code == 404
        assert answer.json()["id"] == "nobody"
        assert "nobody" in answer.json()["error"]


async def test_events_are_pushed_until_the_task_ends(
    client: httpx.AsyncClient, worker: Worker, import_rows: Any, gate: threading.Event
) -> None:
    handle = await import_rows.delay(3)
    seen = []
    async for status in events(client, handle):
        seen.append(status)
        if status["progress"] == 40:
            gate.set()
    assert any(status["message"] == "two of five" for status in seen)
    assert seen[-1]["result"] == {"imported": 3}
    assert [status["is_terminal"] for status in seen].count(True) == 1


async def test_the_events_of_a_failed_task_end_with_its_error(
    client: httpx.AsyncClient, worker: Worker, import_rows: Any, gate: threading.Event
) -> None:
    gate.set()
    handle = await import_rows.delay(-1)
    last = [status async for status in events(client, handle)][-1]
    assert (last["status"], last["error"]) == ("failed", "ValueError: less than nothing")


async def test_a_browser_that_comes_back_after_the_end_is_told_to_stay_away(
    client: httpx.AsyncClient, worker: Worker, import_rows: Any, gate: threading.Event
) -> None:
    gate.set()
    handle = await import_rows.delay(1)
    await handle.get(timeout=20)
    text = (await client.get(f"/api/tasks/{handle}/events")).text
    mark = next(line for line in text.splitlines() if line.startswith("id: "))
    again = await client.get(
        f"/api/tasks/{handle}/events", headers={"Last-Event-ID": mark.removeprefix("id: ")}
    )
    assert again.status_code == 204


async def test_many_readers_follow_one_task(
    client: httpx.AsyncClient, worker: Worker, import_rows: Any, gate: threading.Event
) -> None:
    handle = await import_rows.delay(2)

    async def last() -> dict[str, Any]:
        return [status async for status in events(client, handle)][-1]

    readers = [asyncio.ensure_future(last()) for _ in range(20)]
    gate.set()
    assert {status["status"] for status in await asyncio.gather(*readers)} == {"success"}


async def test_probes_answer(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).text == "ok\n"
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.text) == (200, "ready\n")


async def test_a_task_is_sent_by_name_where_that_is_served(
    client: httpx.AsyncClient, worker: Worker, gate: threading.Event
) -> None:
    gate.set()
    answer = await client.post("/api/tasks", json={"name": "import_rows", "args": [4]})
    assert answer.status_code == 202
    last = [status async for status in events(client, answer.json()["id"])][-1]
    assert last["result"] == {"imported": 4}


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"name": "import_row", "args": [4]}, 404, "did you mean 'import_rows'"),
        ({"name": "import_rows", "args": []}, 400, "count"),
        ({"name": "import_rows", "arg": [4]}, 400, "'arg' is not known"),
        ({"name": "import_rows", "args": 4}, 400, "args = 4 must be a list"),
        ({"args": [4]}, 400, '"name"'),
    ],
)
async def test_a_wrong_order_is_refused_in_a_sentence(
    client: httpx.AsyncClient, import_rows: Any, body: dict[str, Any], code: int, words: str
) -> None:
    answer = await client.post("/api/tasks", json=body)
    assert answer.status_code == code
    assert words in answer.json()["error"]


async def test_a_page_of_another_origin_cannot_send(client: httpx.AsyncClient) -> None:
    order = json.dumps({"name": "import_rows", "args": [1]})
    foreign = await client.post(
        "/api/tasks",
        content=order,
        headers={"Content-Type": "application/json", "Origin": "https://evil.example"},
    )
    assert foreign.status_code == 403
    form = await client.post("/api/tasks", content=order, headers={"Content-Type": "text/plain"})
    assert form.status_code == 403


async def test_without_being_asked_for_nothing_can_be_sent(app: App) -> None:
    with Server(cifra_jobs.web.app()) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            answer = await client.post("/api/tasks", json={"name": "import_rows"})
    assert answer.status_code in {404, 405}


async def test_the_page_runs_no_script_but_its_own(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    nonce = answer.headers["content-security-policy"].split("'nonce-")[1].split("'")[0]
    assert f'<script nonce="{nonce}">' in answer.text
    assert nonce not in (await client.get("/")).text


# ---- who may read


async def test_a_token_closes_everything_but_the_probes(app: App) -> None:
    with Server(cifra_jobs.web.app(token="let-me-in")) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/api/tasks/x")).status_code == 401
            assert (await client.get("/")).status_code == 401
            assert (await client.get("/healthz")).status_code == 200
            bearer = {"Authorization": "Bearer let-me-in"}
            assert (await client.get("/api/tasks/x", headers=bearer)).status_code == 404
            wrong = {"Authorization": "Bearer let-me-out"}
            assert (await client.get("/api/tasks/x", headers=wrong)).status_code == 401


async def test_the_printed_address_opens_the_door_once_and_hides_the_token(app: App) -> None:
    with Server(cifra_jobs.web.app(token="let-me-in")) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            answer = await client.get("/?token=let-me-in&x=1")
            assert answer.status_code == 303
            assert answer.headers["location"] == "/?x=1"
            assert "httponly" in answer.headers["set-cookie"].lower()
            assert (await client.get("/")).status_code == 200
            assert (await client.get("/?token=wrong")).status_code == 200


async def test_a_public_status_needs_no_token_and_opens_nothing_else(app: App) -> None:
    with Server(
        cifra_jobs.web.app(token="let-me-in", public_status=True, allowed_origins=[ORIGIN])
    ) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            ours = await client.get("/api/tasks/x", headers={"Origin": ORIGIN})
            assert ours.status_code == 404
            assert ours.headers["access-control-allow-origin"] == ORIGIN
            other = await client.get("/api/tasks/x", headers={"Origin": "https://evil.example"})
            assert "access-control-allow-origin" not in other.headers
            assert (await client.get("/")).status_code == 401


async def test_it_is_mounted_in_a_service_of_ones_own(
    worker: Worker, import_rows: Any, gate: threading.Event
) -> None:
    gate.set()
    handle = await import_rows.delay(6)
    await handle.get(timeout=20)
    served = cifra_jobs.web.app(token="t", public_status=True)
    with Server(Starlette(routes=[Mount("/jobs", served)])) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            answer = await client.get(f"/jobs/api/tasks/{handle}")
            assert (await client.get("/jobs/")).status_code == 401
    assert answer.json()["result"] == {"imported": 6}
