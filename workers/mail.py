"""E-mail: building messages, and handing them to an SMTP server over a few kept connections."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import TYPE_CHECKING

import aiosmtplib

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from workers.settings import MailSettings

#: SMTP reply codes from here on are final; 400 to 499 mean "try again later".
_FIRST_PERMANENT_CODE = 500
#: Open connections a process holds: servers refuse clients that come with many.
_MAX_CONNECTIONS = 8


class MailError(Exception):
    """A message the server did not take."""


class MailPutOffError(MailError):
    """Not now: the server is busy, away, or asks to come again (grey listing)."""


class MailRefusedError(MailError):
    """Never: the server knows no such recipient, or refuses the message itself."""


def build_message(
    *, message_id: str, sender: str, to: str, subject: str, body: str
) -> EmailMessage:
    """A plain-text message whose ``Message-ID`` comes from ``message_id``.

    The same id gives the same ``Message-ID``, so that mailboxes can drop the copy that a repeated
    delivery brings.
    """
    message = EmailMessage()
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    message["Message-ID"] = f"<{message_id}@{domain}>"
    message["Date"] = formatdate(usegmt=True)
    message["From"] = sender
    message["To"] = to
    message["Subject"] = subject
    message.set_content(body)
    return message


class Mailer:
    """Sends messages over at most eight connections that are kept between messages.

    Args:
        settings: The mail server.
    """

    def __init__(self, settings: MailSettings) -> None:
        """Remember the server; nothing is opened before the first message."""
        self.settings = settings
        self._places = asyncio.Semaphore(_MAX_CONNECTIONS)
        self._idle: list[aiosmtplib.SMTP] = []

    async def send(self, message: EmailMessage) -> None:
        """Hand one message to the server.

        Raises:
            MailPutOffError: If trying again later makes sense.
            MailRefusedError: If the answer is final.
        """
        async with self._places:
            await self._send(message)

    async def close(self) -> None:
        """Say goodbye on all connections."""
        while self._idle:
            await _quit(self._idle.pop())

    async def _send(self, message: EmailMessage) -> None:
        try:
            async with self._connection() as connection:
                await connection.send_message(message)
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _mail_error(error.recipients[0].code, error.recipients[0].message) from error
        except aiosmtplib.SMTPResponseException as error:
            raise _mail_error(error.code, error.message) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            text = f"The mail server at {self.settings.place} cannot be reached: {error}"
            raise MailPutOffError(text) from error

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[aiosmtplib.SMTP]:
        connection = await self._take()
        try:
            yield connection
        except aiosmtplib.SMTPResponseException:
            # The conversation is in order: only this one message was not taken.
            await self._give_back(connection)
            raise
        except aiosmtplib.SMTPRecipientsRefused:
            await self._give_back(connection)
            raise
        except BaseException:
            connection.close()
            raise
        else:
            await self._give_back(connection)

    async def _take(self) -> aiosmtplib.SMTP:
        while self._idle:
            connection = self._idle.pop()
            # A server ends connections that were silent for long; NOOP finds out before a
            # message is on its way, when a fresh connection is still a complete remedy.
            if await _is_alive(connection):
                return connection
        settings = self.settings
        connection = aiosmtplib.SMTP(
            hostname=None if settings.socket else settings.host,
            port=None if settings.socket else settings.port,
            socket_path=settings.socket or None,
            username=settings.username or None,
            password=settings.password or None,
            use_tls=settings.use_tls,
            start_tls=settings.start_tls,
            timeout=settings.timeout,
        )
        await connection.connect()
        return connection

    async def _give_back(self, connection: aiosmtplib.SMTP) -> None:
        if connection.is_connected:
            self._idle.append(connection)


def _mail_error(code: int, text: str) -> MailError:
    sentence = f"The mail server answered {code} {text.strip()}"
    return (MailRefusedError if code >= _FIRST_PERMANENT_CODE else MailPutOffError)(sentence)


async def _is_alive(connection: aiosmtplib.SMTP) -> bool:
    try:
        await connection.rset()
    except (aiosmtplib.SMTPException, OSError):
        connection.close()
        return False
    return True


async def _quit(connection: aiosmtplib.SMTP) -> None:
    try:
        await connection.quit()
    except (aiosmtplib.SMTPException, OSError):
        connection.close()
