"""The steps of an order: take the money, reserve the goods. Each is harmless when repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import update
from sqlalchemy.engine import CursorResult

from workers.models import Account, Delivery, Order, OrderStatus, Payment, Product

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Update
    from sqlalchemy.ext.asyncio import AsyncSession


class OrderNotFoundError(LookupError):
    """There is no such order."""


class PaymentError(Exception):
    """The customer cannot pay; asking again would not help."""


class InventoryError(Exception):
    """The goods are not in stock now; later they may be."""


async def get_order(session: AsyncSession, order_id: UUID) -> Order:
    """The order with its lines, locked until the transaction ends.

    Raises:
        OrderNotFoundError: If there is none.
    """
    order = await session.get(Order, order_id, with_for_update=True)
    if order is None:
        raise OrderNotFoundError(f"There is no order {order_id}.")
    return order


async def charge(session: AsyncSession, order: Order) -> None:
    """Take the money for the order from the customer's account, once.

    Raises:
        PaymentError: If there is no account, or too little on it.
    """
    if await session.get(Payment, order.id) is not None:
        return
    total = order.total_cents
    charged = await _changed_rows(
        session,
        update(Account)
        .where(Account.email == order.customer_email, Account.balance_cents >= total)
        .values(balance_cents=Account.balance_cents - total),
    )
    if not charged:
        raise PaymentError(f"{order.customer_email} has no {format_cents(total)} to pay with")
    session.add(Payment(order_id=order.id, amount_cents=total))


async def reserve(session: AsyncSession, order: Order) -> None:
    """Take the goods of the order out of stock and mark it as processed, once.

    Raises:
        InventoryError: If one of the goods is not there; then none is taken, as long as the
            caller lets the transaction roll back.
    """
    if order.status == OrderStatus.PROCESSED:
        return
    # Always in the same sequence, so that two orders never wait for each other's rows.
    for item in sorted(order.items, key=lambda item: item.sku):
        taken = await _changed_rows(
            session,
            update(Product)
            .where(Product.sku == item.sku, Product.stock >= item.quantity)
            .values(stock=Product.stock - item.quantity),
        )
        if not taken:
            raise InventoryError(f"{item.quantity} x {item.sku} is not in stock")
    order.status = OrderStatus.PROCESSED


async def book_delivery(session: AsyncSession, note: str, sku: str, quantity: int) -> bool:
    """Put received goods into stock; a delivery note that is booked already changes nothing."""
    if await session.get(Delivery, note) is not None:
        return False
    session.add(Delivery(note=note, sku=sku, quantity=quantity))
    await _changed_rows(
        session,
        update(Product).where(Product.sku == sku).values(stock=Product.stock + quantity),
    )
    return True


def confirmation(order: Order) -> tuple[str, str]:
    """Subject and body of the mail that confirms an order."""
    lines = "\n".join(
        f"  {item.quantity} x {item.sku}   {format_cents(item.quantity * item.price_cents)}"
        for item in order.items
    )
    body = (
        f"Dear {order.customer_name},\n\nthank you for your order {order.id}:\n\n{lines}\n\n"
        f"Total: {format_cents(order.total_cents)}\n\nYour shop\n"
    )
    return "Order confirmation", body


def format_cents(cents: int) -> str:
    """An amount as people read it: ``€ 1,234.50``."""
    return f"€ {cents / 100:,.2f}"


async def _changed_rows(session: AsyncSession, statement: Update) -> int:
    result = await session.execute(statement)
    if not isinstance(result, CursorResult):
        raise TypeError("An UPDATE must tell how many rows it has changed.")
    return result.rowcount
