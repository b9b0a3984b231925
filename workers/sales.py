"""Sales figures of one month, counted by the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from workers.models import Sale

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

_DECEMBER = 12


@dataclass(frozen=True, slots=True)
class Figure:
    """Turnover in cents, and the number of sales behind it."""

    cents: int
    count: int


@dataclass(frozen=True, slots=True)
class MonthlySales:
    """What was sold in one month.

    Attributes:
        first_day: The first of the month.
        by_category: Turnover per category, the largest first.
        by_day: Turnover per day; every day of the month is there, in order.
        previous_cents: Turnover of the month before.
    """

    first_day: date
    by_category: dict[str, Figure]
    by_day: dict[date, Figure]
    previous_cents: int

    @property
    def total(self) -> Figure:
        """The whole month."""
        figures = self.by_day.values()
        return Figure(sum(f.cents for f in figures), sum(f.count for f in figures))

    @property
    def best_day(self) -> date:
        """The day with the highest turnover, the first of them if there are several."""
        return max(self.by_day, key=lambda day: self.by_day[day].cents)


def month_bounds(year: int, month: int) -> tuple[datetime, datetime]:
    """First moment of the month, and first moment after it (December ends with the year).

    Raises:
        ValueError: If there is no such month.
    """
    if not 1 <= month <= _DECEMBER:
        raise ValueError(f"A month is 1 to 12, not {month}.")
    next_year, next_month = (year + 1, 1) if month == _DECEMBER else (year, month + 1)
    return datetime(year, month, 1, tzinfo=UTC), datetime(next_year, next_month, 1, tzinfo=UTC)


def read_month(session: Session, year: int, month: int) -> MonthlySales:
    """Add up one month's sales per category and per day (UTC).

    Raises:
        ValueError: If there is no such month.
    """
    start, end = month_bounds(year, month)
    previous_start, _ = month_bounds(*_month_before(year, month))
    by_day = {start.date() + timedelta(days=n): Figure(0, 0) for n in range((end - start).days)}
    sums = (func.coalesce(func.sum(Sale.amount_cents), 0), func.count())
    within = _between(start, end)
    # Grouped by its label: PostgreSQL does not see that two calls with parameters are the same.
    day_column = _day_of(session).label("day")
    for day, cents, count in session.execute(
        select(day_column, *sums).where(within).group_by(day_column)
    ):
        by_day[date.fromisoformat(str(day))] = Figure(int(cents), count)
    categories = session.execute(
        select(Sale.category, *sums).where(within).group_by(Sale.category).order_by(sums[0].desc())
    )
    previous = session.scalar(select(sums[0]).where(_between(previous_start, start)))
    return MonthlySales(
        first_day=start.date(),
        by_category={name: Figure(int(cents), count) for name, cents, count in categories},
        by_day=by_day,
        previous_cents=int(previous or 0),
    )


def _month_before(year: int, month: int) -> tuple[int, int]:
    return (year - 1, _DECEMBER) if month == 1 else (year, month - 1)


def _between(start: datetime, end: datetime) -> ColumnElement[bool]:
    return (Sale.sold_at >= start) & (Sale.sold_at < end)


def _day_of(session: Session) -> ColumnElement[str]:
    if session.get_bind().dialect.name == "postgresql":
        return func.to_char(func.timezone("UTC", Sale.sold_at), "YYYY-MM-DD")
    return func.date(Sale.sold_at)
