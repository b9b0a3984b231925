@task(
    name='process_order',
    retry=3, # Retry 3 times
    retry_delay=60, # Wait 60 seconds between retries
    timeout=300, # Timeout after 5 minutes
    priority=5, # Priority 0-9 (9=highest)
    max_concurrency=10 # Max 10 concurrent executions
)
async def process_order(order_id: UUID):
    """Process order with retry logic"""
    try:
        order = await Order.get(order_id)
        # Process payment
        payment_result = await payment_service.charge(order)
        # Update inventory
        await inventory_service.reserve(order.items)
        # Send confirmation
        await send_email.delay(
            to=order.customer.email,
            subject='Order Confirmation',
            body=f'Your order {order.id} is confirmed'
        )
        await order.update({'status': 'processed'})
        return {'status': 'success', 'order_id': order_id}
    except PaymentError as e:
        # Don't retry payment errors
        raise TaskFailed(f"Payment failed: {e}", retry=False)
    except InventoryError as e:
        # Retry inventory errors
        logger.warning(f"Inventory error: {e}, will retry")
        raise TaskRetry(delay=120) # Retry after 2 minutes
