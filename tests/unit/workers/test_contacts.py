from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from workers.contacts import BATCH_SIZE, ContactsFileError, read_contacts, store_contacts
from workers.database import Database
from workers.models import Contact

HEADER = "first_name,last_name,email,phone\n"


def written(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "contacts.csv"
    path.write_text(text, encoding=encoding)
    return path


async def import_all(database: Database, path: Path) -> None:
    for batch in read_contacts(path).batches():
        async with database.transaction() as session:
            await store_contacts(session, batch)


def test_names_in_any_letters_are_kept(tmp_path: Path) -> None:
    path = written(
        tmp_path, HEADER + "Jürgen,Weiß,j@mail.example,+49 30\nЮлия,Жук,u@mail.example,\n"
    )

    rows = read_contacts(path).rows

    assert [(row.first_name, row.last_name, row.phone) for row in rows] == [
        ("Jürgen", "Weiß", "+49 30"),
        ("Юлия", "Жук", None),
    ]


def test_a_file_saved_by_a_spreadsheet_is_understood(tmp_path: Path) -> None:
    text = "first_name;last_name;email\nZoé;Côté;zoe@mail.example\n"
    path = written(tmp_path, text, "utf-8-sig")

    assert [row.email for row in read_contacts(path).rows] == ["zoe@mail.example"]


def test_an_address_counts_once_however_it_is_written_and_the_last_line_wins(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, HEADER + "Ann,Old,ANN@mail.example,\nAnn,New,ann@mail.example ,\n")

    (row,) = read_contacts(path).rows

    assert (row.email, row.last_name) == ("ann@mail.example", "New")


@pytest.mark.parametrize(
    "line", ["Ann,Lee,,", "Ann,Lee,no address,", "Ann,Lee,@mail.example,", ",,ann@mail.example,"]
)
def test_a_line_without_name_or_address_is_rejected_with_its_number(
    tmp_path: Path, line: str
) -> None:
    path = written(tmp_path, f"{HEADER}Bo,Kay,bo@mail.example,\n{line}\n")

    contacts = read_contacts(path)

    assert [row.email for row in contacts.rows] == ["bo@mail.example"]
    assert [row.line for row in contacts.rejected] == [3]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "first_name,last_name,mail\nAnn,Lee,ann@mail.example\n")

    with pytest.raises(ContactsFileError, match="lacks the column email"):
        read_contacts(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContactsFileError, match=r"no contacts file at .*gone\.csv"):
        read_contacts(tmp_path / "gone.csv")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, HEADER + "Jürgen,Weiß,j@mail.example,\n", "latin-1")

    with pytest.raises(ContactsFileError, match="not UTF-8"):
        read_contacts(path)


async def test_importing_a_file_twice_doubles_nothing_and_keeps_the_news(
    tmp_path: Path, database: Database
) -> None:
    lines = "".join(f"N{n},Lee,n{n}@mail.example,\n" for n in range(BATCH_SIZE * 2 + 7))
    await import_all(database, written(tmp_path, HEADER + lines))
    await import_all(database, written(tmp_path, HEADER + lines.replace("Lee", "Kay")))

    with database.transaction_sync() as session:
        contacts = session.scalars(select(Contact)).all()
    assert len(contacts) == BATCH_SIZE * 2 + 7
    assert {contact.last_name for contact in contacts} == {"Kay"}
