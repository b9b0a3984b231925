from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from workers.database import Database
from workers.demo.mailbox import Mailbox


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    database.create_tables()
    yield database
    await database.close()


@pytest.fixture
async def mailbox(tmp_path: Path) -> AsyncIterator[Mailbox]:
    async with Mailbox(tmp_path / "mails").listening() as mailbox:
        yield mailbox
