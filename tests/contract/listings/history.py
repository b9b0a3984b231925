# Get task history
history = await task_monitor.get_history(
    task_name='send_email',
    from_date=datetime.now() - timedelta(days=7)
)
for task in history:
    print(f"{task.created_at}: {task.status} - {task.execution_time}s")
