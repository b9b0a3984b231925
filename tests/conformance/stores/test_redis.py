import uuid
from collections.abc import Iterator

import pytest

from cifra_jobs.dev.discovery import FoundServer
from cifra_jobs.store.redis import RedisStore
from cifra_jobs.testing.conformance.stores import StoreConformance


class TestRedisStore(StoreConformance):
    @pytest.fixture
    def store(self, redis_server: FoundServer) -> Iterator[RedisStore]:
        store = RedisStore(redis_server.url, namespace=f"test-{uuid.uuid4().hex}")
        yield store
        store.close()
