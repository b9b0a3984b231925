from __future__ import annotations

from pathlib import Path

from workers.contacts import read_contacts
from workers.database import Database
from workers.demo.dataset import is_gone, is_grey, make_dataset


def test_the_data_set_holds_every_kind_of_trouble(tmp_path: Path, database: Database) -> None:
    dataset = make_dataset(tmp_path, database, 150)

    assert len(set(dataset.emails)) == 150
    assert any(is_gone(email) for email in dataset.emails)
    assert any(is_grey(email) for email in dataset.emails)
    assert dataset.unpayable_orders
    assert dataset.waiting_orders
    assert (12, 2025) in dataset.months


def test_an_import_finds_exactly_the_expected_addresses(tmp_path: Path, database: Database) -> None:
    dataset = make_dataset(tmp_path, database, 480)

    for file in dataset.contact_files:
        contacts = read_contacts(file.path)
        assert {row.email for row in contacts.rows} == set(file.emails)
        assert contacts.rejected


def test_the_same_seed_gives_the_same_contacts(tmp_path: Path, database: Database) -> None:
    dataset = make_dataset(tmp_path / "one", database, 150)
    other = Database(f"sqlite:///{tmp_path / 'other.db'}")
    other.create_tables()
    again = make_dataset(tmp_path / "two", other, 150)
    other.close_sync()

    assert [f.path.read_text() for f in dataset.contact_files] == [
        f.path.read_text() for f in again.contact_files
    ]
    assert dataset.good_orders == again.good_orders
