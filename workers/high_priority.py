"""Queue ``high_priority``: what a customer is waiting for.

Latency: a second. The worker prefetches no more than it can run, so that nothing waits behind it.
Concurrency: eight coroutines.
Idempotency: a payment has its order as its key, and goods are reserved in the transaction that
marks the order as processed; the confirmation goes out under an id that comes from the task's own.
"""

from __future__ import annotations

from uuid import NAMESPACE_URL, UUID, uuid5

import structlog

from cifra_jobs import TaskFailed, TaskRetry, current_task, task
from workers.io_intensive import note_failure, send_email
from workers.lifespan import resources
from workers.models import OrderStatus
from workers.orders import (
    InventoryError,
    OrderNotFoundError,
    PaymentError,
    charge,
    confirmation,
    get_order,
    reserve,
)

logger = structlog.get_logger(__name__)


@task(
    name="process_order",
    queue="high_priority",
    priority=9,
    retry=20,
    timeout=300,
    on_failure=note_failure,
)
async def process_order(order_id: UUID) -> dict[str, object]:
    """Take the money, reserve the goods, confirm by mail.

    Payment problems are final. Missing goods are tried again after ``STOCK_RETRY_DELAY`` seconds;
    the payment made by then is kept and not made twice.
    """
    try:
        await _charge(order_id)
        subject, body, to = await _reserve(order_id)
    except (PaymentError, OrderNotFoundError) as error:
        raise TaskFailed(f"Payment failed: {error}", retry=False) from error
    except InventoryError as error:
        logger.warning("order waits for stock", order_id=str(order_id), reason=str(error))
        delay = resources().settings.stock_retry_delay
        raise TaskRetry(str(error), delay=delay, exc=error) from error
    await send_email.apply_async(
        kwargs={"to": to, "subject": subject, "body": body},
        task_id=confirmation_mail_id(current_task.request.id),
    )
    return {"status": "success", "order_id": order_id}


def confirmation_mail_id(order_task_id: str) -> str:
    """The id of the mail that confirms an order: the same at every repeat."""
    return str(uuid5(NAMESPACE_URL, f"confirmation/{order_task_id}"))


async def _charge(order_id: UUID) -> None:
    database = resources().database
    try:
        async with database.transaction() as session:
            await charge(session, await get_order(session, order_id))
    except PaymentError:
        async with database.transaction() as session:
            (await get_order(session, order_id)).status = OrderStatus.PAYMENT_FAILED
        raise


async def _reserve(order_id: UUID) -> tuple[str, str, str]:
    database = resources().database
    try:
        async with database.transaction() as session:
            order = await get_order(session, order_id)
            await reserve(session, order)
            subject, body = confirmation(order)
            return subject, body, order.customer_email
    except InventoryError:
        async with database.transaction() as session:
            (await get_order(session, order_id)).status = OrderStatus.WAITING_FOR_STOCK
        raise
