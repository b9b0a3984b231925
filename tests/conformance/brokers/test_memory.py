from collections.abc import Iterator

import pytest

from cifra_jobs.brokers.memory import MemoryTransport
from cifra_jobs.testing.conformance.brokers import TransportConformance, TransportHarness


class MemoryHarness(TransportHarness):
    def open(self) -> MemoryTransport:
        self.transport = MemoryTransport()
        return self.transport

    def cut(self) -> None:
        self.transport.break_connection()
        self.transport.mend_connection()


class TestMemoryTransport(TransportConformance):
    @pytest.fixture
    def harness(self) -> Iterator[TransportHarness]:
        harness = MemoryHarness()
        yield harness
        harness.transport.close()
