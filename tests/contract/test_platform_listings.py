"""The listings of the platform's own documentation, as written, imported from ``cifra.tasks``.

What a listing takes for granted is found in its module: real services in the place of its
stand-ins. Where the documentation left arguments out ("…"), they are filled in.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import logging
import sys
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

import cifra.tasks as platform
from cifra_jobs import ConfigError, NotYetBuilt, TaskHandle, configure
from cifra_jobs.config import Settings, WorkerFile
from cifra_jobs.testing.assertions import eventually
from tests.contract.services import Http, HttpError, Mail, PdfGenerator, Rows, Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Ledger, TestApp, Workers

LISTINGS = Path(__file__).parent / "listings"
_NUMBERS = itertools.count(1)
logger = logging.getLogger("platform")


async def run(listing: str, *, without: str = "", **present: Any) -> Any:
    """Run a listing as a module; ``await`` may stand at its top level, as documented.

    Args:
        listing: name of the file.
        without: a line to leave out.
        **present: what the listing takes for granted.
    """
    source = (LISTINGS / listing).read_text()
    if without:
        assert source.count(without) == 1
        source = source.replace(without, "")
    module = ModuleType(f"listing_{next(_NUMBERS)}")
    sys.modules[module.__name__] = module
    vars(module).update(
        task=platform.task,
        TaskFailed=platform.TaskFailed,
        TaskRetry=platform.TaskRetry,
        UUID=UUID,
        datetime=datetime,
        timedelta=timedelta,
        logger=logger,
        **present,
    )
    code = compile(source, str(LISTINGS / listing), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(code, vars(module))  # noqa: S307 - our own listing
    if inspect.isawaitable(waiting):
        await waiting
    return module


@pytest.fixture
def mail(ledger: Ledger) -> Iterator[Mail]:
    server = Mail(ledger)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def send_email(app: TestApp, mail: Mail) -> Any:
    """The documented task, for the listings that use it with less."""

    @platform.task
    async def send_email(to: str, subject: str = "", body: str = "") -> dict[str, str]:
        await mail.send(to=to, subject=subject, body=body)
        return {"status": "sent", "to": to}

    return send_email


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    made = Rows(tmp_path / "platform.db")
    yield made
    made.close()


# -- what runs ---------------------------------------------------------------------------------


async def test_quick_start(app: TestApp, worker: Worker, mail: Mail, ledger: Ledger) -> None:
    listing = await run("quick_start.py", email_service=mail)
    assert ledger.wait(1) == [("mail", "user@example.com", "Welcome")]
    sent = await listing.send_email.apply(to="a@example.com", subject="s", body="b")
    assert sent == {"status": "sent", "to": "a@example.com"}


async def test_results(app: TestApp, worker: Worker, send_email: Any, ledger: Ledger) -> None:
    listing = await run("results.py", send_email=send_email)
    assert isinstance(listing.task_id, TaskHandle)
    assert listing.result == {"status": "sent", "to": "user@example.com"}
    assert len(ledger) == 2


async def test_at_a_time(app: TestApp, worker: Worker, send_email: Any, ledger: Ledger) -> None:
    await run("at_a_time.py", send_email=send_email)
    # The day of the second has come; the first waits for an hour.
    assert ledger.wait(1) == [("mail", "user@example.com", "at a time")]
    assert app.ready() == 0


PAID, POOR, SOLD_OUT = UUID(int=1), UUID(int=2), UUID(int=3)


class PaymentError(Exception):
    """The documentation's."""


class InventoryError(Exception):
    """The documentation's."""


@pytest.fixture
async def orders(rows: Rows, send_email: Any) -> dict[str, Any]:
    """What the listing of the order needs."""
    order = rows.model(
        "Order",
        items=property(lambda self: self.lines),
        customer=property(lambda self: SimpleNamespace(email=self.email)),
    )
    for order_id, lines in ((PAID, ["book"]), (POOR, ["yacht"]), (SOLD_OUT, ["lamp"])):
        await order.create({"id": str(order_id), "lines": lines, "email": "c@example.com"})

    class Payments:
        async def charge(self, order: Any) -> None:
            if "yacht" in order.items:
                raise PaymentError("too little money")

    class Inventory:
        async def reserve(self, items: list[str]) -> None:
            if "lamp" in items:
                raise InventoryError("no lamps")

    return {
        "Order": order,
        "payment_service": Payments(),
        "inventory_service": Inventory(),
        "PaymentError": PaymentError,
        "InventoryError": InventoryError,
        "send_email": send_email,
    }


async def test_process_order_waits_for_concurrency_limits(
    app: TestApp, orders: dict[str, Any]
) -> None:
    with pytest.raises(NotYetBuilt, match=r"process_order.*max_concurrency.*does not have"):
        await run("process_order.py", **orders)


async def test_process_order_without_its_limit(
    app: TestApp,
    worker: Worker,
    orders: dict[str, Any],
    ledger: Ledger,
    log_lines: Callable[[], list[dict[str, Any]]],
) -> None:
    line = "    max_concurrency=10 # Max 10 concurrent executions\n"
    listing = await run("process_order.py", without=line, **orders)
    assert await listing.process_order.apply(PAID) == {"status": "success", "order_id": PAID}
    assert (await orders["Order"].get(PAID)).status == "processed"
    assert ledger.wait(1) == [("mail", "c@example.com", "Order Confirmation")]

    handle = await listing.process_order.delay(POOR)
    with pytest.raises(platform.TaskFailed, match="Payment failed: too little money"):
        await handle.get(10)
    assert (await handle.status()).attempts == 1

    handle = await listing.process_order.delay(SOLD_OUT)
    eventually(lambda: app.state(handle) == "retrying")
    (retry,) = [line for line in log_lines() if line.get("to") == "retrying"]
    assert retry["delay_s"] == 120


async def test_large_dataset(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    async def load_chunk(chunk_id: int) -> list[int]:
        return [chunk_id * 10 + i for i in range(3)]

    async def process_record(record: int) -> int:
        return record * 2

    async def save_final_results(results: list[int]) -> None:
        ledger(results)

    listing = await run(
        "large_dataset.py",
        load_chunk=load_chunk,
        process_record=process_record,
        save_final_results=save_final_results,
    )
    chunks = [await listing.process_chunk.apply(chunk_id=i) for i in (1, 2)]
    assert await listing.merge_results.apply(chunks) == {"total": 6}
    assert ledger.entries == [[20, 22, 24, 40, 42, 44]]


async def test_status(
    app: TestApp, worker: Worker, send_email: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    task_id = await send_email.delay(to="user@example.com")
    await task_id.get(10)
    await run("status.py", task_id=str(task_id))
    printed = capsys.readouterr().out.splitlines()
    assert printed == ["success", "100.0", str(await task_id.get()), "None"]


async def test_progress(app: TestApp, worker: Worker) -> None:
    items = list(range(5))

    async def process_item(item: int) -> None: ...

    listing = await run("progress.py", items=items, process_item=process_item)
    handle = await listing.long_running_task.delay(5)
    assert await handle.get(10) == {"processed": 5}
    status = await handle.status()
    assert (status.progress, status.message) == (100, "Processed 5 of 5")


@pytest.mark.parametrize(("retries", "delay"), [(0, 60), (1, 120), (2, 240)])
async def test_an_api_call_backs_off_by_its_retries(
    app: TestApp,
    worker: Worker,
    log_lines: Callable[[], list[dict[str, Any]]],
    retries: int,
    delay: int,
) -> None:
    server = Http()
    server.start()
    listing = await run("api_call.py", http_client=server, HTTPError=HttpError)
    work = listing.api_call_with_retry
    try:
        assert await work.apply(f"{server.url}/200") == {"answer": 42}
        with pytest.raises(platform.TaskFailed, match="404"):
            await work.apply(f"{server.url}/404")
        message = work.message(f"{server.url}/503")
        message.options["retries"] = retries
        app.broker.enqueue(message)
        eventually(lambda: app.state(message.message_id) == "retrying")
        (retry,) = [line for line in log_lines() if line.get("to") == "retrying"]
        assert retry["delay_s"] == delay
    finally:
        server.stop()


async def test_priorities(
    app: TestApp,
    workers: Workers,
    send_email: Any,
    ledger: Ledger,
    log_lines: Callable[[], list[dict[str, Any]]],
) -> None:
    listing = await run("priorities.py", send_email=send_email)
    names = ["batch_task", "normal_task", "urgent_task"]
    handles = [await getattr(listing, name).delay() for name in names]
    workers(concurrency=1)
    for handle in handles:
        await handle.wait(10)
    ended = [line["task"] for line in log_lines() if line.get("to") == "success"]
    assert [name for name in ended if name in names] == names[::-1]
    assert ledger.wait(1) == [("mail", "user@example.com", "")]


async def test_queues_and_routes(make: Any, app: TestApp) -> None:
    listing = await run("queues.py")
    assert {
        name: getattr(listing, name).queue
        for name in ("normal_task", "urgent_task", "heavy_computation", "download_file")
    } == {
        "normal_task": "default",
        "urgent_task": "high_priority",
        "heavy_computation": "cpu_intensive",
        "download_file": "io_intensive",
    }
    configure(
        broker=make.broker, result_backend=make.result_backend, task_routes=listing.task_routes
    )
    process_video = platform.task(name="process_video")(lambda: None)
    assert process_video.queue == "cpu_intensive"


async def test_stored_result(app: TestApp, worker: Worker) -> None:
    async def compute(data: list[int]) -> int:
        return sum(data)

    listing = await run("stored_result.py", compute=compute, data=[1, 2, 3])
    assert listing.result == 6


class TemporaryError(Exception):
    """The documentation's."""


class PermanentError(Exception):
    """The documentation's."""


async def test_errors(
    app: TestApp, worker: Worker, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    outcomes: list[Any] = ["done", PermanentError("never"), TemporaryError("later"), KeyError("x")]

    async def do_work() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    listing = await run(
        "errors.py", do_work=do_work, TemporaryError=TemporaryError, PermanentError=PermanentError
    )
    assert await listing.robust_task.apply() == "done"
    with pytest.raises(platform.TaskFailed, match="never"):
        await listing.robust_task.apply()
    temporary = await listing.robust_task.delay()
    eventually(lambda: app.state(temporary) == "retrying")
    unexpected = await listing.robust_task.apply_async(retry=0)
    with pytest.raises(KeyError):
        await unexpected.get(10)
    delays = [line["delay_s"] for line in log_lines() if line.get("to") == "retrying"]
    assert delays == [60]


async def test_on_failure(app: TestApp, worker: Worker, send_email: Any, ledger: Ledger) -> None:
    listing = await run("on_failure.py", send_email=send_email)
    assert await listing.my_task.apply() is None

    @platform.task(retry=0, on_failure=listing.on_failure)
    async def fails() -> None:
        raise ValueError("why")

    handle = await fails.delay()
    assert ledger.wait(1) == [("mail", "admin@example.com", f"Task Failed: {handle}")]


async def test_campaign_batch(
    app: TestApp, worker: Worker, rows: Rows, send_email: Any, ledger: Ledger
) -> None:
    campaigns, subscribers = rows.model("Campaign"), rows.model("Subscriber")
    campaign = await campaigns.create({"subject": "News", "template": "Dear {}"})
    ids = [(await subscribers.create({"email": f"s{i}@example.com"})).id for i in range(3)]

    def render_template(template: str, *, subscriber: Any) -> str:
        return template.format(subscriber.email)

    async def get_subscribers(_self: Any) -> list[Any]:
        return [await subscribers.get(each) for each in ids]

    campaigns.get_subscribers = get_subscribers
    listing = await run(
        "campaign.py",
        Campaign=campaigns,
        Subscriber=subscribers,
        send_email=send_email,
        render_template=render_template,
        group=platform.group,
    )
    await listing.send_campaign_batch.apply(UUID(campaign.id), ids)
    assert sorted(ledger.wait(3)) == [("mail", f"s{i}@example.com", "News") for i in range(3)]
    # The whole campaign composes a group, which comes later: a sentence says so.
    handle = await listing.send_campaign.apply_async((UUID(campaign.id),), retry=0)
    with pytest.raises(NotYetBuilt, match="group"):
        await handle.get(10)


async def test_import_csv(app: TestApp, worker: Worker, rows: Rows, tmp_path: Path) -> None:
    text = "first_name,last_name,email,phone\n"
    text += "".join(f"F{i},L{i},c{i}@example.com,{i}\n" for i in range(250))
    (tmp_path / "contacts.csv").write_text(text)
    files, contacts = rows.model("FileAttachment"), rows.model("Contact")
    file = await files.create({"id": str(uuid4()), "storage_path": "contacts.csv"})
    listing = await run(
        "import_csv.py", FileAttachment=files, Contact=contacts, storage=Storage(tmp_path)
    )
    handle = await listing.import_csv.delay(UUID(file.id))
    assert await handle.get(20) == {"imported": 250}
    assert len(contacts.every()) == 250
    status = await handle.status()
    assert (status.progress, status.message) == (100, "Imported 250 of 250 rows")


async def test_monthly_report(app: TestApp, worker: Worker, rows: Rows, tmp_path: Path) -> None:
    sales, reports = rows.model("Sale"), rows.model("Report")
    for day, amount in ((1, 5), (30, 7)):
        await sales.create({"amount": amount, "created_at": datetime(2026, 9, day)})  # noqa: DTZ001
    await sales.create({"amount": 100, "created_at": datetime(2026, 10, 1)})  # noqa: DTZ001
    storage = Storage(tmp_path)

    async def generate_charts(data: dict[str, Any]) -> list[str]:
        chart = f"<svg><text>{data['total_sales']}</text></svg>".encode()
        return [storage.url(await storage.save(chart, path="charts/total.svg"))]

    listing = await run(
        "monthly_report.py",
        Sale=sales,
        Report=reports,
        storage=storage,
        pdf_generator=PdfGenerator(),
        generate_charts=generate_charts,
    )
    handle = await listing.generate_monthly_report.delay(9, 2026)
    result = await handle.get(20)
    assert (tmp_path / "reports/2026-09.pdf").read_bytes().startswith(b"%PDF")
    report = await reports.get(result["report_id"])
    assert report.data["total_sales"] == 12
    assert result["url"] == report.file_url
    status = await handle.status()
    assert (status.progress, status.message) == (100, "Report completed")


# -- what comes later is refused with a sentence ----------------------------------------------


@pytest.mark.parametrize(
    ("listing", "names"),
    [
        ("daily_backup.py", []),
        ("schedules.py", []),
        ("rate_limit.py", []),
        ("chain.py", ["download_file", "parse_csv", "import_contacts"]),
        ("group.py", ["send_email"]),
        ("chord.py", ["process_chunk", "merge_results"]),
        ("monitor.py", []),
        ("history.py", ["task_monitor"]),
    ],
)
async def test_what_comes_later_is_refused_with_a_sentence(
    app: TestApp, listing: str, names: list[str]
) -> None:
    present: dict[str, Any] = {
        name: platform.task_monitor
        if name == "task_monitor"
        else platform.task(name=name)(lambda *args, **kwargs: None)
        for name in names
    }
    with pytest.raises(NotYetBuilt) as refused:
        await run(listing, **present)
    word = {"daily_backup.py": "scheduled_task", "schedules.py": "scheduled_task"}.get(
        listing, {"monitor.py": "task_monitor", "history.py": "task_monitor"}.get(listing, "")
    )
    sentence = str(refused.value)
    assert (word or listing.removesuffix(".py")) in sentence
    assert "not built yet" in sentence
    app.declare([app.queue])
    assert app.ready() == 0


# -- files -------------------------------------------------------------------------------------


def test_the_documented_worker_file() -> None:
    workers = WorkerFile.load(LISTINGS / "worker_config.yaml").workers
    assert {name: (entry.concurrency, list(entry.queues)) for name, entry in workers.items()} == {
        "default": (4, ["default"]),
        "priority": (2, ["high_priority"]),
        "cpu": (2, ["cpu_intensive"]),
        "io": (20, ["io_intensive"]),
    }
    assert workers["default"].prefetch_multiplier == 4
    assert workers["cpu"].max_tasks_per_child == 100


def test_the_documented_configuration_needs_rabbitmq_for_its_broker(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"broker.*rabbitmq.*memory"):
        Settings(LISTINGS / "config.yaml")
    text = (LISTINGS / "config.yaml").read_text()
    text = text.replace("type: redis # redis, rabbitmq", "type: rabbitmq").replace(
        "url: redis://localhost:6379/0", "url: amqp://localhost"
    )
    (tmp_path / "config.yaml").write_text(text)
    settings = Settings(tmp_path / "config.yaml")
    assert settings.result_backend.expires == 3600
    assert settings.workers.prefetch_multiplier == 4
    assert settings.retry.retry_backoff_max == 600
    assert settings.monitoring.flower.port == 5555
