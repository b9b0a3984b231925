"""The suite that every `StateStore` must pass.

::

    class TestMine(StoreConformance):
        @pytest.fixture
        def store(self):
            store = MyStore()
            yield store
            store.close()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cifra_jobs.testing.conformance.stores.claiming import ClaimingCases
from cifra_jobs.testing.conformance.stores.ending import EndingCases
from cifra_jobs.testing.conformance.stores.news import NewsCases
from cifra_jobs.testing.conformance.stores.story import Story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cifra_jobs.store.base import StateStore

__all__ = ["StoreConformance", "Story"]


class StoreConformance(ClaimingCases, EndingCases, NewsCases):
    """Subclass it as ``TestSomething`` with a fixture ``store``: empty, of this test alone."""

    @pytest.fixture
    def store(self) -> Iterator[StateStore]:
        """The make under test; to be overridden."""
        raise NotImplementedError("give the suite a fixture named store")

    @pytest.fixture
    def story(self, store: StateStore) -> Story:
        """One task's way through the store."""
        return Story(store)
