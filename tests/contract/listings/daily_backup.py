from cifra.tasks import scheduled_task

@scheduled_task(cron='0 2 * * *') # Every day at 2 AM
async def daily_backup():
    """Run daily backup"""
    await backup_service.backup_database()
    await backup_service.backup_uploads()
    return {'status': 'completed', 'timestamp': datetime.now()}
