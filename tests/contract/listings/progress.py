# Update progress from inside task
@task
async def long_running_task(total_items: int):
    """Task with progress updates"""
    for i, item in enumerate(items):
        await process_item(item)
        # Update progress
        await self.update_progress(
            percent=(i + 1) / total_items * 100,
            message=f"Processed {i + 1} of {total_items}"
        )
    return {'processed': total_items}
