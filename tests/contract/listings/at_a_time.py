from datetime import datetime, timedelta

# Execute in 1 hour
await send_email.apply_at(
    datetime.now() + timedelta(hours=1),
    to='user@example.com',
    subject='in an hour', body='b'
)
# Execute at specific time
await send_email.apply_at(
    datetime(2025, 11, 15, 10, 0, 0),
    to='user@example.com',
    subject='at a time', body='b'
)
