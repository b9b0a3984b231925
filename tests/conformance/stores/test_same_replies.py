"""Whatever is asked in whatever order, both makes of the store answer alike."""

import uuid

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cifra_jobs.clock import now_ms
from cifra_jobs.dev.discovery import FoundServer
from cifra_jobs.jobs.state import FINAL_STATES, TaskState
from cifra_jobs.store.base import (
    Beat,
    Claim,
    Created,
    Finish,
    Get,
    Gone,
    Live,
    Operation,
    Progress,
    Release,
    Revoke,
    SendFailed,
    Stage,
    Started,
    Unwatch,
    Watch,
)
from cifra_jobs.store.keys import INLINE_RESULT_CHARS
from cifra_jobs.store.memory import MemoryStore
from cifra_jobs.store.redis import RedisStore

HOUR_MS = 3_600_000
NOW = now_ms()

ids = st.sampled_from(["a", "b"])
tokens = st.sampled_from(["t1", "t2", "t3"])
workers = st.sampled_from(["w1", "w2"])
rounds = st.integers(0, 2)
names = st.sampled_from(["mails.send", "größe mit leer"])
queues = st.sampled_from(["default", "q2"])
#: A token is one worker's.
HOLDERS = {"t1": "w1", "t2": "w2", "t3": "w1"}
channels = st.sampled_from(["c1", "c2"])
times = st.integers(NOW, NOW + 9)
due = st.none() | times
texts = st.none() | st.sampled_from(["", "x", 'ü"\n'])
errors = st.sampled_from(['{"e":1}', '{"e":2}'])
results = st.sampled_from(["null", '"x"', '"' + "y" * INLINE_RESULT_CHARS + '"'])
initial = st.sampled_from([TaskState.SCHEDULED, TaskState.QUEUED])
outcomes = st.sampled_from(
    [*sorted(FINAL_STATES), TaskState.RETRYING, TaskState.SNOOZED, TaskState.QUEUED]
)
priorities = st.none() | st.integers(0, 9)
hour = st.just(HOUR_MS)
parents = st.none() | st.just("p")

operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Created, ids, names, queues, initial, priorities, times, due, parents, parents, hour),
    st.builds(SendFailed, ids, errors, times),
    st.builds(Claim, ids, rounds, tokens, workers, names, queues, times, times, hour).map(
        lambda claim: claim._replace(worker=HOLDERS[claim.token])
    ),
    st.builds(Started, ids, tokens, workers, st.integers(1, 3), times),
    st.builds(
        Progress,
        ids,
        tokens,
        st.none() | st.floats(0, 100, allow_nan=False),
        texts,
        texts,
        st.none() | st.just('{"m":[]}'),
    ),
    st.builds(Stage, ids, tokens, results, hour),
    st.builds(
        Finish,
        task_id=ids,
        token=tokens,
        state=outcomes,
        round=rounds,
        task_name=names,
        queue=queues,
        worker=workers,
        attempts=st.integers(0, 3),
        created_at=times,
        started_at=due,
        now=times,
        eta=due,
        result=st.none() | results,
        result_ttl_ms=hour,
        error=st.none() | errors,
        handed_over=st.booleans(),
        ttl_ms=hour,
    ).map(lambda finish: finish._replace(worker=HOLDERS[finish.token])),
    st.builds(Release, ids, tokens),
    st.builds(Revoke, ids, times, errors),
    st.builds(Get, ids),
    st.builds(Watch, ids, channels),
    st.builds(Unwatch, ids, channels),
    st.builds(Beat, workers, st.just("{}"), hour),
    st.builds(Gone, workers),
    st.just(Live()),
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(asked=st.lists(operations, min_size=5, max_size=40), cut=st.integers(1, 8))
def test_random_operations_get_the_same_replies_from_both_makes(
    redis_server: FoundServer, asked: list[Operation], cut: int
) -> None:
    memory = MemoryStore()
    redis = RedisStore(redis_server.url, namespace=f"test-{uuid.uuid4().hex}")
    try:
        for start in range(0, len(asked), cut):
            batch = asked[start : start + cut]
            assert redis.commit(batch) == memory.commit(batch)
    finally:
        redis.close()
