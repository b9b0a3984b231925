from cifra.tasks import task_monitor

# Get metrics
stats = await task_monitor.get_stats()
print(f"Active tasks: {stats['active']}")
print(f"Completed today: {stats['completed_today']}")
print(f"Failed today: {stats['failed_today']}")
print(f"Average execution time: {stats['avg_execution_time']}s")
