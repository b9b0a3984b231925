# Fire and forget
task_id = await send_email.delay(to='user@example.com', subject='s', body='b')
# Get result later
result = await task_id.get()
# Block until complete
result = await send_email.apply(to='user@example.com', subject='s', body='b')
