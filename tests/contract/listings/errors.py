from cifra.tasks import task, TaskFailed, TaskRetry

@task(retry=3)
async def robust_task():
    """Task with error handling"""
    try:
        # Do work
        result = await do_work()
        return result
    except TemporaryError as e:
        # Retry temporary errors
        logger.warning(f"Temporary error: {e}, will retry")
        raise TaskRetry(delay=60)
    except PermanentError as e:
        # Don't retry permanent errors
        logger.error(f"Permanent error: {e}")
        raise TaskFailed(str(e), retry=False)
    except Exception as e:
        # Log unexpected errors
        logger.exception(f"Unexpected error: {e}")
        raise
