from cifra.tasks import rate_limit

@task
@rate_limit(max_requests=100, window=60) # 100 per minute
async def send_sms(phone: str, message: str):
    """Send SMS with rate limiting"""
    await sms_service.send(phone, message)
