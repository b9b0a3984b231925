"""Queue ``io_intensive``: work that waits for other machines.

Latency: seconds; a mail may be minutes late when the mail server puts it off.
Concurrency: fifty coroutines on one thread; of those at most eight talk to the mail server.
Idempotency: a mail's ``Message-ID`` comes from the task id, so that a mailbox can tell a repeated
delivery from a new mail; a noted failure has the task id as its key.
"""

from __future__ import annotations

from datetime import UTC, datetime

from cifra_jobs import TaskFailed, TaskRetry, current_task, task
from workers.database import upsert
from workers.lifespan import resources
from workers.mail import MailPutOffError, MailRefusedError, build_message
from workers.models import Failure


@task(queue="io_intensive", priority=3)
async def note_failure(task_id: str, exception: str, traceback: str) -> None:
    """Keep a failed task in the table of failures, for people to look at."""
    row = {
        "task_id": task_id,
        "error": exception,
        "traceback": traceback,
        "noted_at": datetime.now(UTC),
    }
    async with resources().database.transaction() as session:
        dialect = session.get_bind().dialect.name
        await session.execute(upsert(dialect, Failure, [row], key=["task_id"]))


@task(queue="io_intensive", retry=5, timeout=60, on_failure=note_failure)
async def send_email(to: str, subject: str, body: str) -> dict[str, str]:
    """Send one mail in plain text.

    A server that is busy or away is asked again after ``MAIL_RETRY_DELAY`` seconds, twice that,
    and so on; a final refusal ends the task.
    """
    settings, request = resources().settings, current_task.request
    message = build_message(
        message_id=request.id, sender=settings.mail.sender, to=to, subject=subject, body=body
    )
    try:
        await resources().mailer.send(message)
    except MailPutOffError as error:
        delay = settings.mail_retry_delay * 2**request.retries
        raise TaskRetry(str(error), delay=delay, exc=error) from error
    except MailRefusedError as error:
        raise TaskFailed(f"The mail to {to} was refused: {error}", retry=False) from error
    return {"status": "sent", "to": to}
