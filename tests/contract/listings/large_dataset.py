# Example: Process large dataset
@task
async def process_chunk(chunk_id: int):
    """Process data chunk"""
    chunk = await load_chunk(chunk_id)
    results = []
    for record in chunk:
        results.append(await process_record(record))
    return results

@task
async def merge_results(chunk_results: list):
    """Merge results from all chunks"""
    all_results = []
    for chunk in chunk_results:
        all_results.extend(chunk)
    await save_final_results(all_results)
    return {'total': len(all_results)}
