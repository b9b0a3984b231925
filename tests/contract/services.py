"""What the platform's listings call: mail over SMTP, rows in SQLite, files, HTTP, a PDF."""

from __future__ import annotations

import asyncio
import http.server
import io
import json
import smtplib
import socket
import sqlite3
import threading
from datetime import datetime
from email.message import EmailMessage
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

import httpx
from aiosmtpd.controller import Controller
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.kit import Ledger


class _Server(Controller):
    """Listens on a free port."""

    def _create_server(self) -> Any:
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        return self.loop.create_server(self._factory_invoker, sock=listening)


class Mail:
    """A mail server of this test, and what sends to it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._server = _Server(self, hostname="127.0.0.1")

    def start(self) -> None:
        """Listen on a free port."""
        self._server.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.stop()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Note each mail in the ledger: recipient and subject."""
        from email import message_from_bytes, policy

        mail = message_from_bytes(envelope.content, policy=policy.default)
        self._ledger("mail", envelope.rcpt_tos[0], mail["Subject"])
        return "250 OK"

    async def send(self, *, to: str, subject: str, body: str) -> None:
        """Deliver a mail."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "noreply@example.com", to, subject
        mail.set_content(body)

        def deliver() -> None:
            with smtplib.SMTP("127.0.0.1", self._server.port, timeout=10) as server:
                server.send_message(mail)

        await asyncio.to_thread(deliver)


class Rows:
    """Models over one SQLite file."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False)
        self._db.execute("create table rows (model text, id text, data text)")

    def model(self, name: str, **methods: Any) -> Any:
        """A class with ``create``, ``get``, ``filter(…).all()`` and ``update``."""
        db = self._db

        class Model(SimpleNamespace):
            @classmethod
            async def create(cls, data: dict[str, Any]) -> Self:
                row = {"id": str(uuid4()), **data}
                with db:
                    db.execute(
                        "insert into rows values (?, ?, ?)",
                        (name, str(row["id"]), json.dumps(row, default=str)),
                    )
                return cls(**row)

            @classmethod
            async def get(cls, row_id: UUID | str) -> Any:
                (found,) = [row for row in cls.every() if row.id == str(row_id)]
                return found

            @classmethod
            def filter(cls, *, created_at__gte: datetime, created_at__lt: datetime) -> Any:
                async def chosen() -> list[Any]:
                    return [
                        row
                        for row in cls.every()
                        if created_at__gte
                        <= datetime.fromisoformat(row.created_at)
                        < created_at__lt
                    ]

                return SimpleNamespace(all=chosen)

            @classmethod
            def every(cls) -> list[Any]:
                found = db.execute("select data from rows where model = ?", (name,)).fetchall()
                return [cls(**json.loads(data)) for (data,) in found]

            async def update(self, changes: dict[str, Any]) -> None:
                vars(self).update(changes)
                data = json.dumps(vars(self), default=str)
                with db:
                    db.execute("update rows set data = ? where id = ?", (data, self.id))

        return type(name, (Model,), methods)

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class Storage:
    """Files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def download(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    async def save(self, data: bytes, *, path: str) -> str:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return path

    def url(self, file_id: str) -> str:
        return (self.folder / file_id).as_uri()


class PdfGenerator:
    """Writes the figures of a report on a page."""

    async def generate(self, *, template: str, data: dict[str, Any], charts: list[str]) -> bytes:
        page = io.BytesIO()
        figure = Figure()
        figure.text(0.1, 0.9, f"{template}: {data['total_count']} sales, {len(charts)} charts")
        figure.savefig(page, format="pdf")
        return page.getvalue()


class HttpError(Exception):
    """An answer that is no success."""

    def __init__(self, status_code: int) -> None:
        super().__init__(status_code)
        self.status_code = status_code


class Http:
    """A server whose path is the status it answers with, and a client that raises for errors."""

    def __init__(self) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = b'{"answer": 42}'
                self.send_response(int(self.path.lstrip("/")))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - inherited
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    async def get(self, url: str) -> httpx.Response:
        async with httpx.AsyncClient() as client:
            response = await client.get(url)
        if response.is_error:
            raise HttpError(response.status_code)
        return response
