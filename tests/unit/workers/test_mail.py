from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import policy
from email.parser import BytesParser
from pathlib import Path

import pytest

from workers.demo import mailbox as mailbox_module
from workers.demo.mailbox import Mailbox
from workers.mail import Mailer, MailPutOffError, MailRefusedError, build_message
from workers.settings import MailSettings


@asynccontextmanager
async def mailer_for(url: str) -> AsyncIterator[Mailer]:
    mailer = Mailer(MailSettings.from_url(url))
    try:
        yield mailer
    finally:
        await mailer.close()


async def send(mailer: Mailer, to: str, message_id: str = "id-1") -> None:
    await mailer.send(
        build_message(
            message_id=message_id,
            sender="Shop <shop@cifra.example>",
            to=to,
            subject="Grüße",
            body="Привет, Jürgen!\n",
        )
    )


async def test_a_sent_mail_lands_as_a_readable_file(mailbox: Mailbox) -> None:
    async with mailer_for(mailbox.url) as mailer:
        await send(mailer, "ann@mail.example")

    (path,) = mailbox.folder.glob("*.eml")
    message = BytesParser(policy=policy.default).parsebytes(path.read_bytes())
    body = message.get_body()
    assert message["Subject"] == "Grüße"
    assert message["To"] == "ann@mail.example"
    assert body is not None
    assert body.get_content().splitlines() == ["Привет, Jürgen!"]


async def test_a_machine_that_cannot_reach_itself_gets_its_mail_over_a_unix_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox_module, "_can_reach_itself", lambda: False)
    box = Mailbox(tmp_path)
    async with box.listening(), mailer_for(box.url) as mailer:
        assert box.url.startswith("unix:///")
        await send(mailer, "ann@mail.example", "by-socket")

    assert box.received == {"by-socket"}


async def test_the_same_task_gives_the_same_message_id(mailbox: Mailbox) -> None:
    async with mailer_for(mailbox.url) as mailer:
        await send(mailer, "ann@mail.example", "task-7")
        await send(mailer, "ann@mail.example", "task-7")

    assert mailbox.received == {"task-7"}
    assert len(list(mailbox.folder.glob("*.eml"))) == 1


async def test_a_grey_listed_mail_is_put_off_and_taken_later(mailbox: Mailbox) -> None:
    async with mailer_for(mailbox.url) as mailer:
        with pytest.raises(MailPutOffError, match="451"):
            await send(mailer, "ann@greylist.example")
        await send(mailer, "ann@greylist.example")

    assert mailbox.received == {"id-1"}


async def test_an_unknown_mailbox_is_a_final_answer(mailbox: Mailbox) -> None:
    async with mailer_for(mailbox.url) as mailer:
        with pytest.raises(MailRefusedError, match="550"):
            await send(mailer, "ann@gone.example")
        await send(mailer, "bo@mail.example")

    assert mailbox.received == {"id-1"}


async def test_a_server_that_is_away_means_later(mailbox: Mailbox) -> None:
    async with mailer_for("smtp://127.0.0.1:1") as mailer:
        with pytest.raises(MailPutOffError, match=r"127\.0\.0\.1:1 cannot be reached"):
            await send(mailer, "ann@mail.example")


async def test_many_mails_at_once_share_few_connections(mailbox: Mailbox) -> None:
    async with mailer_for(mailbox.url) as mailer:
        await asyncio.gather(*(send(mailer, f"a{n}@mail.example", f"id-{n}") for n in range(60)))

    assert len(mailbox.received) == 60
    assert mailbox.connections <= 8


async def test_a_connection_that_the_server_has_closed_is_replaced(mailbox: Mailbox) -> None:
    async with mailer_for(mailbox.url) as mailer:
        await send(mailer, "ann@mail.example", "before")
        mailbox.hang_up()
        await send(mailer, "ann@mail.example", "after")

    assert mailbox.received == {"before", "after"}
