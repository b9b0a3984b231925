# High priority (executed first)
@task(priority=9)
async def urgent_task():
    """Critical task"""
    pass

# Normal priority
@task(priority=5)
async def normal_task():
    """Normal task"""
    pass

# Low priority (executed last)
@task(priority=1)
async def batch_task():
    """Batch processing"""
    pass

# Enqueue with priority
await send_email.apply_async(
    kwargs={'to': 'user@example.com'},
    priority=9
)
