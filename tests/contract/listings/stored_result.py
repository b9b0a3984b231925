from cifra.tasks import task

@task(store_result=True, result_expires=3600) # Store for 1 hour
async def expensive_computation(data):
    """Expensive computation with result caching"""
    result = await compute(data)
    return result

# Get result
task_id = await expensive_computation.delay(data)
# Result is cached for 1 hour
result = await task_id.get() # Fast (from cache)
