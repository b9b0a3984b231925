from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from workers.database import Database
from workers.models import Account, Order, OrderItem, OrderStatus, Payment, Product
from workers.orders import (
    InventoryError,
    OrderNotFoundError,
    PaymentError,
    book_delivery,
    charge,
    confirmation,
    get_order,
    reserve,
)

ANN = "ann@mail.example"


@pytest.fixture
def order_id(database: Database) -> UUID:
    """An order of two lamps and a kite for 10 euro; two lamps and no kite are in stock."""
    order_id = uuid4()
    with database.transaction_sync() as session:
        session.add_all(
            [Product("LAMP", "Lamp", "Light", 300, 2), Product("KITE", "Kite", "Toys", 400, 0)]
        )
        session.flush()
        session.add(Account(ANN, 1500))
        items = [OrderItem("LAMP", 2, 300), OrderItem("KITE", 1, 400)]
        session.add(Order(order_id, "Ann Lee", ANN, items))
    return order_id


async def charge_order(database: Database, order_id: UUID) -> None:
    async with database.transaction() as session:
        await charge(session, await get_order(session, order_id))


async def reserve_order(database: Database, order_id: UUID) -> None:
    async with database.transaction() as session:
        await reserve(session, await get_order(session, order_id))


async def deliver_kites(database: Database, note: str, quantity: int) -> bool:
    async with database.transaction() as session:
        return await book_delivery(session, note, "KITE", quantity)


def stock(database: Database) -> dict[str, int]:
    with database.transaction_sync() as session:
        return {product.sku: product.stock for product in session.scalars(select(Product))}


def balance(database: Database) -> int:
    with database.transaction_sync() as session:
        return session.get_one(Account, ANN).balance_cents


async def test_an_order_is_paid_once_however_often_it_is_tried(
    database: Database, order_id: UUID
) -> None:
    await charge_order(database, order_id)
    await charge_order(database, order_id)

    assert balance(database) == 500


async def test_too_little_money_is_a_payment_error_that_takes_none(
    database: Database, order_id: UUID
) -> None:
    with database.transaction_sync() as session:
        session.get_one(Account, ANN).balance_cents = 999

    with pytest.raises(PaymentError, match=r"€ 10\.00"):
        await charge_order(database, order_id)

    assert balance(database) == 999
    with database.transaction_sync() as session:
        assert session.get(Payment, order_id) is None


async def test_goods_are_reserved_all_or_none(database: Database, order_id: UUID) -> None:
    with pytest.raises(InventoryError, match="1 x KITE"):
        await reserve_order(database, order_id)

    assert stock(database) == {"LAMP": 2, "KITE": 0}


async def test_an_order_goes_through_once_its_goods_have_come(
    database: Database, order_id: UUID
) -> None:
    with pytest.raises(InventoryError):
        await reserve_order(database, order_id)
    await deliver_kites(database, "note-1", 3)
    await reserve_order(database, order_id)
    await reserve_order(database, order_id)

    assert stock(database) == {"LAMP": 0, "KITE": 2}
    with database.transaction_sync() as session:
        assert session.get_one(Order, order_id).status == OrderStatus.PROCESSED


async def test_a_delivery_note_is_booked_once(database: Database, order_id: UUID) -> None:
    assert await deliver_kites(database, "note-1", 3)
    assert not await deliver_kites(database, "note-1", 3)

    assert stock(database)["KITE"] == 3


async def test_an_unknown_order_is_named(database: Database) -> None:
    unknown = uuid4()

    with pytest.raises(OrderNotFoundError, match=str(unknown)):
        await charge_order(database, unknown)


async def test_the_confirmation_names_goods_and_total(database: Database, order_id: UUID) -> None:
    async with database.transaction() as session:
        subject, body = confirmation(await get_order(session, order_id))

    assert subject == "Order confirmation"
    assert "2 x LAMP" in body
    assert "Total: € 10.00" in body
