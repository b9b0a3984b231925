"""What a worker process opens once and its tasks share."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from cifra_jobs import current_task, worker_lifespan
from workers.database import Database
from workers.mail import Mailer
from workers.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@dataclass(frozen=True)
class Resources:
    """The open things of one worker process."""

    settings: Settings
    database: Database
    mailer: Mailer


@worker_lifespan
@asynccontextmanager
async def open_resources() -> AsyncGenerator[dict[str, Resources]]:
    """Get database and mail server ready; both connect at their first use.

    Tables that are missing are made here, so that a new deployment needs no step of its own.
    """
    settings = Settings.from_environment()
    database, mailer = Database(settings.database_url), Mailer(settings.mail)
    database.create_tables()
    try:
        yield {"resources": Resources(settings, database, mailer)}
    finally:
        await mailer.close()
        await database.close()


def resources() -> Resources:
    """The resources of the worker that runs the current task."""
    return cast("Resources", current_task.context["resources"])
