"""Sends the work, and follows every task that comes of it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from workers.cpu_intensive import generate_monthly_report, make_thumbnail
from workers.default import import_contacts, receive_delivery, welcome_mail_id
from workers.demo.dataset import is_gone, is_grey
from workers.high_priority import confirmation_mail_id, process_order

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

    from cifra_jobs import TaskStatus
    from workers.demo.dataset import ContactFile, Dataset
    from workers.demo.tracker import Tracker

#: Side of the thumbnails in pixels.
THUMBNAIL_SIZE = 256
#: Seconds until the supplier delivers what was called for.
_DELIVERY_AFTER = 1


def totals(dataset: Dataset) -> dict[str, int]:
    """How many tasks of each name the scenario sends."""
    confirmed = len(dataset.good_orders) + len(dataset.waiting_orders)
    return {
        "import_contacts": len(dataset.contact_files) + 1,
        "send_email": len(dataset.emails) + confirmed,
        "process_order": confirmed + len(dataset.unpayable_orders),
        "receive_delivery": 1,
        "generate_monthly_report": len(dataset.months),
        "make_thumbnail": len(dataset.pictures) + 1,
    }


async def play(dataset: Dataset, tracker: Tracker) -> None:
    """Send everything at once, and return when the last task has ended."""
    async with asyncio.TaskGroup() as group:
        for order in dataset.good_orders:
            group.create_task(_order(order, tracker))
        group.create_task(_sell_out(dataset, tracker))
        for order in dataset.unpayable_orders:
            group.create_task(_order(order, tracker, must_fail=True))
        for file in dataset.contact_files:
            group.create_task(_import(file, tracker))
        group.create_task(_import_wrong_file(dataset.wrong_file, tracker))
        for month, year in dataset.months:
            group.create_task(_report(month, year, tracker))
        for picture in dataset.pictures:
            group.create_task(_thumbnail(picture, tracker))
        group.create_task(_thumbnail(dataset.broken_picture, tracker, must_fail=True))


async def _import(file: ContactFile, tracker: Tracker) -> None:
    handle = await import_contacts.delay(str(file.path))
    status = await tracker.follow_closely("import_contacts", handle)
    if status.status != "success":
        return
    async with asyncio.TaskGroup() as group:
        for email in file.emails:
            follow = tracker.follow(
                "send_email",
                welcome_mail_id(handle, email),
                must_fail=is_gone(email),
                least_attempts=2 if is_grey(email) else 1,
            )
            group.create_task(follow)


async def _import_wrong_file(path: Path, tracker: Tracker) -> None:
    handle = await import_contacts.delay(str(path))
    await tracker.follow_closely("import_contacts", handle, must_fail=True)


async def _order(order_id: UUID, tracker: Tracker, *, must_fail: bool = False) -> None:
    handle = await process_order.delay(order_id)
    status = await tracker.follow("process_order", handle, must_fail=must_fail)
    if status.status == "success":
        await tracker.follow("send_email", confirmation_mail_id(handle))


async def _sell_out(dataset: Dataset, tracker: Tracker) -> None:
    """Order what is not in stock; the supplier comes once every order had to wait for it."""
    waiting: set[UUID] = set()
    all_wait = asyncio.Event()

    def hear(order_id: UUID, status: TaskStatus) -> None:
        if status.state == "retrying" or status.is_terminal:
            waiting.add(order_id)
        if len(waiting) == len(dataset.waiting_orders):
            all_wait.set()

    async with asyncio.TaskGroup() as group:
        for order_id in dataset.waiting_orders:
            group.create_task(_waiting_order(order_id, tracker, partial(hear, order_id)))
        await all_wait.wait()
        await _deliver(dataset, tracker)


async def _waiting_order(
    order_id: UUID, tracker: Tracker, on_news: Callable[[TaskStatus], None]
) -> None:
    handle = await process_order.delay(order_id)
    status = await tracker.follow_closely(
        "process_order", handle, least_attempts=2, on_news=on_news
    )
    if status.status == "success":
        await tracker.follow("send_email", confirmation_mail_id(handle))


async def _deliver(dataset: Dataset, tracker: Tracker) -> None:
    delivery = dataset.delivery
    handle = await receive_delivery.apply_async(
        (delivery.note, delivery.sku, delivery.quantity), countdown=_DELIVERY_AFTER
    )
    await tracker.follow("receive_delivery", handle)


async def _report(month: int, year: int, tracker: Tracker) -> None:
    handle = await generate_monthly_report.delay(month, year)
    await tracker.follow_closely("generate_monthly_report", handle)


async def _thumbnail(picture: Path, tracker: Tracker, *, must_fail: bool = False) -> None:
    handle = await make_thumbnail.delay(str(picture), THUMBNAIL_SIZE)
    await tracker.follow("make_thumbnail", handle, must_fail=must_fail)
