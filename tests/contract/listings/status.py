from cifra.tasks import TaskStatus

# Get task status
task = await TaskStatus.get(task_id)
print(task.status) # pending, running, success, failed
print(task.progress) # 0-100
print(task.result) # Task result (if completed)
print(task.error) # Error message (if failed)
