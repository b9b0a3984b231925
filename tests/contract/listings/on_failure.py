# Error callbacks
@task
async def on_failure(task_id, exception, traceback):
    """Called when task fails"""
    logger.error(f"Task {task_id} failed: {exception}")
    # Notify admin
    await send_email.delay(
        to='admin@example.com',
        subject=f'Task Failed: {task_id}',
        body=f'Error: {exception}\n\nTraceback:\n{traceback}'
    )

@task(on_failure=on_failure)
async def my_task():
    """Task with failure callback"""
    pass
