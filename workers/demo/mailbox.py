"""A mail server of our own: what it receives lands as files that a mail program opens."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from contextlib import asynccontextmanager
from email import message_from_bytes
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from weakref import WeakSet

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from aiosmtpd.smtp import Envelope, Session

#: Mailboxes here are served at the second attempt only: grey listing, as many servers do.
GREY_DOMAIN = "greylist.example"
#: Mailboxes here do not exist any more.
GONE_DOMAIN = "gone.example"
_HOST = "127.0.0.1"

# The server tells of every line of every conversation, at the level of news.
logging.getLogger("mail.log").setLevel(logging.WARNING)


class Mailbox:
    """Takes mail for every address, and keeps each message as one ``.eml`` file.

    Attributes:
        url: Where to reach it, for ``SMTP_URL``; set once it listens.
        received: Ids of the messages taken, as their ``Message-ID`` says.
        refused: How many recipients were refused for good.
        connections: How many connections clients have made.
    """

    def __init__(self, folder: Path) -> None:
        """Remember where the files go."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.url = ""
        self.received: set[str] = set()
        self.refused = 0
        self.connections = 0
        self._put_off: set[str] = set()
        self._open: WeakSet[SMTP] = WeakSet()

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Mailbox]:
        """Listen on a free port of this machine until the end of the block.

        Where the machine cannot reach itself (a container whose loopback interface is down), on a
        Unix socket.
        """
        loop = asyncio.get_running_loop()

        def answer() -> SMTP:
            connection = SMTP(self, hostname="mail.example", loop=loop)
            self.connections += 1
            self._open.add(connection)
            return connection

        # Not in the run's own folder: the path of a socket may have 107 bytes.
        with TemporaryDirectory(prefix="cifra-mail-") as place:
            if _can_reach_itself():
                server = await loop.create_server(answer, _HOST, 0)
                self.url = f"smtp://{_HOST}:{server.sockets[0].getsockname()[1]}"
            else:
                server = await loop.create_unix_server(answer, f"{place}/smtp")
                self.url = f"unix://{place}/smtp"
            try:
                yield self
            finally:
                server.close()
                self.hang_up()

    def hang_up(self) -> None:
        """Close all connections, as a mail server does with those that are silent for long."""
        for connection in self._open:
            if connection.transport is not None:
                connection.transport.close()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it so
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Answer to ``RCPT TO``."""
        del server, session, options
        domain = address.rpartition("@")[2]
        if domain == GONE_DOMAIN:
            self.refused += 1
            return "550 5.1.1 No such mailbox"
        if domain == GREY_DOMAIN and address not in self._put_off:
            self._put_off.add(address)
            return "451 4.7.1 Grey listed, come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd calls it so
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Keep a received message; a repeated one replaces the first."""
        del server, session
        content = envelope.original_content or b""
        message_id = str(message_from_bytes(content)["Message-ID"]).strip("<>").partition("@")[0]
        recipient = re.sub(r"[^\w.@+-]", "_", envelope.rcpt_tos[0])
        (self.folder / f"{recipient}-{message_id[:8]}.eml").write_bytes(content)
        self.received.add(message_id)
        return "250 OK"


def _can_reach_itself() -> bool:
    with socket.create_server((_HOST, 0)) as listener:
        try:
            socket.create_connection(listener.getsockname(), timeout=1).close()
        except OSError:
            return False
    return True
