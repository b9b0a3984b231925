from cifra.tasks import chord

# Chord: Group + Callback
# Run tasks in parallel, then execute callback with results
result = await chord([
    process_chunk.s(chunk_id=1),
    process_chunk.s(chunk_id=2),
    process_chunk.s(chunk_id=3)
])(merge_results.s())
