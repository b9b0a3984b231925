"""The tables of the application: contacts, orders, sales, reports and noted failures.

Money is kept in whole cents, because SQLite has no decimal type and a sum of floats is no sum of
money. Times are kept in UTC.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from sqlalchemy import JSON, Date, DateTime, ForeignKey, Text, TypeDecorator
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, stored in UTC and read back with its zone on every database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: object) -> datetime | None:
        """Bring an aware time to UTC; a naive one is refused, since its zone is unknown."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(
                f"The time {value} has no time zone; give one, for example datetime.now(UTC)."
            )
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: object) -> datetime | None:
        """Give the zone back that SQLite does not keep."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


class Model(MappedAsDataclass, DeclarativeBase):
    """What all tables have in common."""

    type_annotation_map: ClassVar = {datetime: UtcDateTime, date: Date, dict[str, object]: JSON}


class Contact(Model):
    """One person; the e-mail address in lower case says who it is."""

    __tablename__ = "contacts"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    email: Mapped[str] = mapped_column(unique=True)
    first_name: Mapped[str]
    last_name: Mapped[str]
    phone: Mapped[str | None] = mapped_column(default=None)
    imported_at: Mapped[datetime] = mapped_column(default_factory=lambda: datetime.now(UTC))


class Account(Model):
    """Money that a customer can pay with."""

    __tablename__ = "accounts"

    email: Mapped[str] = mapped_column(primary_key=True)
    balance_cents: Mapped[int]


class Product(Model):
    """Something that is sold, and how many of it are in stock."""

    __tablename__ = "products"

    sku: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    category: Mapped[str]
    price_cents: Mapped[int]
    stock: Mapped[int]


class OrderStatus(StrEnum):
    """How far an order has come."""

    PLACED = "placed"
    WAITING_FOR_STOCK = "waiting_for_stock"
    PROCESSED = "processed"
    PAYMENT_FAILED = "payment_failed"


class OrderItem(Model):
    """One line of an order."""

    __tablename__ = "order_items"

    order_id: Mapped[UUID] = mapped_column(
        ForeignKey("orders.id"), primary_key=True, init=False, default=None
    )
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"), primary_key=True)
    quantity: Mapped[int]
    price_cents: Mapped[int]


class Order(Model):
    """What a customer has bought."""

    __tablename__ = "orders"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    customer_name: Mapped[str]
    customer_email: Mapped[str]
    items: Mapped[list[OrderItem]] = relationship(default_factory=list, lazy="selectin")
    status: Mapped[str] = mapped_column(default=OrderStatus.PLACED)
    placed_at: Mapped[datetime] = mapped_column(default_factory=lambda: datetime.now(UTC))

    @property
    def total_cents(self) -> int:
        """The sum over all lines."""
        return sum(item.quantity * item.price_cents for item in self.items)


class Payment(Model):
    """Money taken for an order: at most once, because the order is the key."""

    __tablename__ = "payments"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    amount_cents: Mapped[int]
    paid_at: Mapped[datetime] = mapped_column(default_factory=lambda: datetime.now(UTC))


class Delivery(Model):
    """Goods received from a supplier: booked at most once, because the delivery note is the key."""

    __tablename__ = "deliveries"

    note: Mapped[str] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"))
    quantity: Mapped[int]


class Sale(Model):
    """One sold line, as the monthly report counts it."""

    __tablename__ = "sales"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    category: Mapped[str]
    amount_cents: Mapped[int]
    sold_at: Mapped[datetime] = mapped_column(index=True)


class Report(Model):
    """A finished monthly report; making it again replaces the old one."""

    __tablename__ = "reports"

    year: Mapped[int] = mapped_column(primary_key=True)
    month: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str]
    totals: Mapped[dict[str, object]]


class Failure(Model):
    """A task that ended for good without success."""

    __tablename__ = "failures"

    task_id: Mapped[str] = mapped_column(primary_key=True)
    error: Mapped[str] = mapped_column(Text)
    traceback: Mapped[str] = mapped_column(Text)
    noted_at: Mapped[datetime] = mapped_column(default_factory=lambda: datetime.now(UTC))
