"""Whether everything has ended as it should: looked up in the database, the mails and the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from workers.models import Contact, Failure, Order, OrderStatus, Payment, Report

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from workers.database import Database
    from workers.demo.dataset import Dataset
    from workers.demo.mailbox import Mailbox
    from workers.demo.tracker import Tracker

#: A summary that names hundreds of ids helps nobody.
_NAMED = 3


def find_problems(
    dataset: Dataset, tracker: Tracker, database: Database, mailbox: Mailbox, files: Path
) -> list[str]:
    """A sentence for everything that is not as it should be; empty when all is well."""
    return [
        *tracker.problems(),
        *_contact_problems(dataset, database),
        *_order_problems(dataset, database),
        *_mail_problems(tracker, mailbox),
        *_file_problems(dataset, database, files),
        *_difference("failed tasks", set(), unnoted_failures(tracker, database)),
    ]


def unnoted_failures(tracker: Tracker, database: Database) -> set[str]:
    """Ids of the failed tasks that the table of failures does not have yet."""
    failed = {
        task.id
        for kind in tracker.kinds.values()
        for task in kind.ended
        if task.status is not None and task.status.status == "failed"
    }
    with database.transaction_sync() as session:
        return failed - set(session.scalars(select(Failure.task_id)))


def _contact_problems(dataset: Dataset, database: Database) -> list[str]:
    with database.transaction_sync() as session:
        stored = list(session.scalars(select(Contact.email)))
    return _difference("contacts", set(stored), set(dataset.emails))


def _order_problems(dataset: Dataset, database: Database) -> list[str]:
    sold = {*dataset.good_orders, *dataset.waiting_orders}
    expected = dict.fromkeys(sold, OrderStatus.PROCESSED) | dict.fromkeys(
        dataset.unpayable_orders, OrderStatus.PAYMENT_FAILED
    )
    with database.transaction_sync() as session:
        statuses = {order.id: order.status for order in session.scalars(select(Order))}
        paid = set(session.scalars(select(Payment.order_id)))
    wrong = [
        f"Order {order_id} is {statuses[order_id]}, not {status}."
        for order_id, status in expected.items()
        if statuses[order_id] != status
    ]
    return [*wrong, *_difference("payments", paid, sold)]


def _mail_problems(tracker: Tracker, mailbox: Mailbox) -> list[str]:
    sent = {
        task.id
        for task in tracker.kinds["send_email"].ended
        if task.status is not None and task.status.status == "success"
    }
    return _difference("mails", mailbox.received, sent)


def _file_problems(dataset: Dataset, database: Database, files: Path) -> list[str]:
    with database.transaction_sync() as session:
        reports = {(report.month, report.year) for report in session.scalars(select(Report))}
    pdfs = {(int(path.stem[5:]), int(path.stem[:4])) for path in (files / "reports").glob("*.pdf")}
    thumbnails = {path.stem.rpartition("-")[0] for path in (files / "thumbnails").glob("*.jpg")}
    return [
        *_difference("reports", reports & pdfs, set(dataset.months)),
        *_difference("thumbnails", thumbnails, {path.stem for path in dataset.pictures}),
    ]


def _difference(what: str, found: Iterable[object], expected: Iterable[object]) -> list[str]:
    missing, surplus = set(expected) - set(found), set(found) - set(expected)
    return [
        f"{len(ids)} {what} {verb}, for example {', '.join(sorted(map(str, ids))[:_NAMED])}."
        for ids, verb in ((missing, "are missing"), (surplus, "are there unasked"))
        if ids
    ]
