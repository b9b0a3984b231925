from cifra.tasks import chain, group

# Parallel execution (group)
results = await group(
    send_email.s(to='user1@example.com'),
    send_email.s(to='user2@example.com'),
    send_email.s(to='user3@example.com')
).apply_async()
# Wait for all to complete
await results.wait()
