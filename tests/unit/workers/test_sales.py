from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from workers.database import Database
from workers.models import Sale
from workers.sales import Figure, month_bounds, read_month


def sell(database: Database, *sales: tuple[str, int, datetime]) -> None:
    with database.transaction_sync() as session:
        session.add_all(Sale(category, cents, moment) for category, cents, moment in sales)


def at(year: int, month: int, day: int, hour: int = 12, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def test_december_ends_with_the_year() -> None:
    assert month_bounds(2025, 12) == (at(2025, 12, 1, 0), at(2026, 1, 1, 0))


@pytest.mark.parametrize("month", [0, 13, -1])
def test_there_are_twelve_months(month: int) -> None:
    with pytest.raises(ValueError, match="A month is 1 to 12"):
        month_bounds(2025, month)


def test_a_month_has_its_first_and_last_minute_and_nothing_of_its_neighbors(
    database: Database,
) -> None:
    sell(
        database,
        ("Books", 1, at(2025, 11, 30, 23, 59)),
        ("Books", 10, at(2025, 12, 1, 0, 0)),
        ("Toys", 200, at(2025, 12, 31, 23, 59)),
        ("Toys", 4000, at(2026, 1, 1, 0, 0)),
    )

    with database.transaction_sync() as session:
        sales = read_month(session, 2025, 12)

    assert sales.total == Figure(210, 2)
    assert sales.by_category == {"Toys": Figure(200, 1), "Books": Figure(10, 1)}
    assert sales.by_day[date(2025, 12, 31)] == Figure(200, 1)
    assert sales.previous_cents == 1
    assert sales.best_day == date(2025, 12, 31)


def test_every_day_of_a_leap_february_is_there_even_without_sales(database: Database) -> None:
    with database.transaction_sync() as session:
        sales = read_month(session, 2024, 2)

    assert list(sales.by_day)[-1] == date(2024, 2, 29)
    assert sales.total == Figure(0, 0)
