@task(retry=3, retry_delay=60)
async def api_call_with_retry(url: str):
    """API call with exponential backoff"""
    try:
        response = await http_client.get(url)
        return response.json()
    except HTTPError as e:
        if e.status_code in [500, 502, 503]:
            # Retry on server errors
            # Exponential backoff: 60s, 120s, 240s
            retry_count = self.request.retries
            delay = 60 * (2 ** retry_count)
            logger.warning(f"API call failed, retry in {delay}s")
            raise TaskRetry(delay=delay)
        else:
            # Don't retry on client errors
            raise TaskFailed(f"API call failed: {e}", retry=False)
