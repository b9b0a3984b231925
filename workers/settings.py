"""What the environment tells the application: where its database, mail server and files are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

_SMTP_PORTS = {"smtp": 25, "smtps": 465}


@dataclass(frozen=True)
class MailSettings:
    """The mail server.

    Attributes:
        host: Name or address of the server.
        port: Its TCP port.
        socket: Path of its Unix socket, instead of host and port; empty for TCP.
        username: Account to log in with; empty for none.
        password: Password of that account, left out of ``repr``.
        use_tls: Speak TLS from the first byte (``smtps://``).
        start_tls: Demand STARTTLS; ``None`` takes it where it is offered.
        sender: Address in ``From``.
        timeout: Seconds to wait for one answer of the server.
    """

    host: str
    port: int
    username: str = ""
    password: str = ""
    use_tls: bool = False
    start_tls: bool | None = None
    sender: str = "Cifra <noreply@cifra.example>"
    timeout: float = 20.0
    socket: str = ""

    @property
    def place(self) -> str:
        """Where the server is, for people."""
        return self.socket or f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        """Name the server and never the password."""
        return f"MailSettings({self.place})"

    @classmethod
    def from_url(cls, url: str, sender: str | None = None) -> Self:
        """Read ``smtp://user:password@host:port?starttls=yes|no``, ``smtps://…`` or ``unix:///…``.

        Raises:
            ValueError: If the address is not of that form.
        """
        parts = urlsplit(url)
        sender = sender or cls.sender
        if parts.scheme == "unix" and parts.path:
            return cls("localhost", 0, sender=sender, socket=unquote(parts.path))
        if parts.scheme not in _SMTP_PORTS or not parts.hostname:
            raise ValueError(
                "SMTP_URL must look like smtp://user:password@host:587, smtps://host:465 or "
                "unix:///path/to/socket, "
                f"but its scheme is '{parts.scheme}' and its host '{parts.hostname or ''}'."
            )
        wish = parse_qs(parts.query).get("starttls", [""])[0]
        return cls(
            host=parts.hostname,
            port=parts.port or _SMTP_PORTS[parts.scheme],
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            use_tls=parts.scheme == "smtps",
            start_tls={"yes": True, "no": False}.get(wish),
            sender=sender,
        )


@dataclass(frozen=True)
class Settings:
    """Everything that differs from one place to the next.

    Attributes:
        database_url: ``DATABASE_URL``; SQLite in ``var/cifra.db`` when unset.
        mail: ``SMTP_URL``, or ``SMTP_HOST`` and ``SMTP_PORT``; localhost:25 when unset.
        files: ``FILES_DIR``, the folder for reports and thumbnails; ``var/files`` when unset.
        stock_retry_delay: ``STOCK_RETRY_DELAY``, seconds until an order that waits for stock is
            tried again; 120 when unset.
        mail_retry_delay: ``MAIL_RETRY_DELAY``, seconds until a mail that the server put off is
            tried again; 60 when unset.
    """

    database_url: str
    mail: MailSettings
    files: Path
    stock_retry_delay: float
    mail_retry_delay: float

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment; nothing is opened."""
        environment = os.environ
        host, port = environment.get("SMTP_HOST", "localhost"), environment.get("SMTP_PORT", "25")
        return cls(
            database_url=environment.get("DATABASE_URL", "sqlite:///var/cifra.db"),
            mail=MailSettings.from_url(
                environment.get("SMTP_URL", f"smtp://{host}:{port}"), environment.get("SMTP_FROM")
            ),
            files=Path(environment.get("FILES_DIR", "var/files")),
            stock_retry_delay=float(environment.get("STOCK_RETRY_DELAY", "120")),
            mail_retry_delay=float(environment.get("MAIL_RETRY_DELAY", "60")),
        )
