"""Queue ``default``: the everyday work of the office.

Latency: a minute is fine; imports run for as long as their file is long, and show progress.
Concurrency: four at once, which keeps one SQLite file or a small PostgreSQL busy.
Idempotency: every step may be repeated. Contacts are known by their address, deliveries by the
number of their note, and mails go out under ids that come from the import's own id.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from cifra_jobs import TaskFailed, asend_many, current_task, task
from workers.contacts import ContactsFileError, read_contacts, store_contacts
from workers.io_intensive import note_failure, send_email
from workers.lifespan import resources
from workers.orders import book_delivery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.contacts import ContactRow


@task(queue="default", timeout=1800, on_failure=note_failure)
async def import_contacts(path: str) -> dict[str, int]:
    """Bring a CSV file of contacts into the database, and welcome each contact by mail.

    The file is taken in batches of a hundred; after each one the mails of that batch are sent on
    their way. An import that is run again, because its worker died in it, doubles nothing.
    """
    try:
        contacts = read_contacts(Path(path))
    except ContactsFileError as error:
        raise TaskFailed(str(error), retry=False) from error
    total = len(contacts.rows)
    await current_task.update_progress(0, f"Starting import of {total} contacts")
    done = 0
    for batch in contacts.batches():
        async with resources().database.transaction() as session:
            await store_contacts(session, batch)
        await _welcome(batch)
        done += len(batch)
        await current_task.update_progress(done / total * 100, f"Imported {done} of {total}")
    return {"imported": total, "rejected": len(contacts.rejected)}


@task(queue="default", on_failure=note_failure)
async def receive_delivery(note: str, sku: str, quantity: int) -> dict[str, object]:
    """Put delivered goods into stock."""
    async with resources().database.transaction() as session:
        is_new = await book_delivery(session, note, sku, quantity)
    return {"note": note, "booked": is_new}


def welcome_mail_id(import_id: str, email: str) -> str:
    """The id of the mail that an import sends to an address: the same at every repeat."""
    return str(uuid5(NAMESPACE_URL, f"welcome/{import_id}/{email}"))


async def _welcome(contacts: Sequence[ContactRow]) -> None:
    import_id = current_task.request.id
    await asend_many(
        send_email.s(
            to=contact.email,
            subject=f"Welcome, {contact.first_name or contact.last_name}!",
            body=(
                f"Dear {contact.first_name} {contact.last_name},\n\n"
                "your address is now in our list of contacts.\n\nYour shop\n"
            ),
        ).set(task_id=welcome_mail_id(import_id, contact.email))
        for contact in contacts
    )
