"""Contacts: from a CSV file to rows of the database."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.headerregistry import Address
from typing import TYPE_CHECKING

from workers.database import upsert
from workers.models import Contact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncSession

#: Columns that the first line of a contacts file must name.
REQUIRED_COLUMNS = ("first_name", "last_name", "email")
#: Rows written in one transaction: long enough to be quick, short enough for others to get a turn.
BATCH_SIZE = 100


class ContactsFileError(ValueError):
    """A file that is no contacts file; trying again would not help."""


@dataclass(frozen=True, slots=True)
class ContactRow:
    """One valid line of a contacts file."""

    email: str
    first_name: str
    last_name: str
    phone: str | None


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """One line that cannot be imported, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class ContactsFile:
    """What a contacts file holds: each address once, the last line wins."""

    rows: tuple[ContactRow, ...]
    rejected: tuple[RejectedRow, ...]

    def batches(self) -> Iterator[Sequence[ContactRow]]:
        """The rows in groups of `BATCH_SIZE`."""
        for start in range(0, len(self.rows), BATCH_SIZE):
            yield self.rows[start : start + BATCH_SIZE]


def read_contacts(path: Path) -> ContactsFile:
    """Read a UTF-8 file with a header line, separated by commas or semicolons.

    Raises:
        ContactsFileError: If the file is missing, is no UTF-8 text, or lacks a column.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = ";" if file.readline().count(";") >= len(REQUIRED_COLUMNS) - 1 else ","
            file.seek(0)
            return _read_rows(csv.DictReader(file, delimiter=delimiter), path)
    except FileNotFoundError:
        raise ContactsFileError(f"There is no contacts file at {path}.") from None
    except UnicodeDecodeError as error:
        raise ContactsFileError(
            f"The contacts file {path} is not UTF-8 text (byte {error.start})."
        ) from error


async def store_contacts(session: AsyncSession, rows: Sequence[ContactRow]) -> None:
    """Insert the rows, or update those whose address is known, in one statement."""
    now = datetime.now(UTC)
    values = [
        {
            "email": row.email,
            "first_name": row.first_name,
            "last_name": row.last_name,
            "phone": row.phone,
            "imported_at": now,
        }
        for row in rows
    ]
    await session.execute(upsert(session.get_bind().dialect.name, Contact, values, key=["email"]))


def _read_rows(reader: csv.DictReader[str], path: Path) -> ContactsFile:
    missing = [name for name in REQUIRED_COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ContactsFileError(
            f"The contacts file {path} lacks the column {', '.join(missing)}; "
            f"its first line names {', '.join(reader.fieldnames or ()) or 'nothing'}."
        )
    rows: dict[str, ContactRow] = {}
    rejected: list[RejectedRow] = []
    for line in reader:
        values = {name: (line.get(name) or "").strip() for name in (*REQUIRED_COLUMNS, "phone")}
        reason = _reason_to_reject(values)
        if reason:
            rejected.append(RejectedRow(reader.line_num, reason))
            continue
        email = values["email"].lower()
        rows[email] = ContactRow(
            email, values["first_name"], values["last_name"], values["phone"] or None
        )
    return ContactsFile(tuple(rows.values()), tuple(rejected))


def _reason_to_reject(values: dict[str, str]) -> str:
    if not values["first_name"] and not values["last_name"]:
        return "it has no name"
    try:
        address = Address(addr_spec=values["email"])
    except (ValueError, IndexError, HeaderParseError):
        return f"'{values['email']}' is no e-mail address"
    if not address.username or not address.domain:
        return f"'{values['email']}' is no e-mail address"
    return ""
