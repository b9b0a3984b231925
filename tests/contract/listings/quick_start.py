from cifra.tasks import task

@task(name='send_email')
async def send_email(to: str, subject: str, body: str):
    """Send email task"""
    await email_service.send(
        to=to,
        subject=subject,
        body=body
    )
    return {'status': 'sent', 'to': to}

# Enqueue task
await send_email.delay(
    to='user@example.com',
    subject='Welcome',
    body='Hello!'
)
