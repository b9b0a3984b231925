from cifra.tasks import scheduled_task

# Every minute
@scheduled_task(cron='* * * * *')
async def check_health():
    """Health check every minute"""
    pass
