# Define queues
@task(queue='default')
async def normal_task():
    pass

@task(queue='high_priority')
async def urgent_task():
    pass

@task(queue='cpu_intensive')
async def heavy_computation():
    pass

@task(queue='io_intensive')
async def download_file():
    pass

# Route tasks to queues
task_routes = {
    'send_email': {'queue': 'default'},
    'process_video': {'queue': 'cpu_intensive'},
    'import_data': {'queue': 'io_intensive'},
    'urgent_notification': {'queue': 'high_priority'}
}
