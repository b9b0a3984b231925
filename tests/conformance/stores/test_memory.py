from collections.abc import Iterator

import pytest

from cifra_jobs.store.memory import MemoryStore
from cifra_jobs.testing.conformance.stores import StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def store(self) -> Iterator[MemoryStore]:
        store = MemoryStore()
        yield store
        store.close()
