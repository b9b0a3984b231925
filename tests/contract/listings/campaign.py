@task
async def send_campaign(campaign_id: UUID):
    """Send email campaign to all subscribers"""
    campaign = await Campaign.get(campaign_id)
    subscribers = await campaign.get_subscribers()
    # Create subtasks for each batch
    batch_size = 100
    tasks = []
    for i in range(0, len(subscribers), batch_size):
        batch = subscribers[i:i + batch_size]
        tasks.append(send_campaign_batch.s(campaign_id, [s.id for s in batch]))
    # Execute in parallel
    result = await group(tasks).apply_async()
    # Wait for all to complete
    await result.wait()
    # Update campaign status
    await campaign.update({'status': 'sent', 'sent_at': datetime.now()})

@task
async def send_campaign_batch(campaign_id: UUID, subscriber_ids: list):
    """Send campaign to batch of subscribers"""
    campaign = await Campaign.get(campaign_id)
    for subscriber_id in subscriber_ids:
        subscriber = await Subscriber.get(subscriber_id)
        await send_email.delay(
            to=subscriber.email,
            subject=campaign.subject,
            body=render_template(campaign.template, subscriber=subscriber)
        )
