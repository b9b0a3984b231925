"""The suite that every `Transport` must pass.

::

    class TestMine(TransportConformance):
        @pytest.fixture
        def harness(self):
            with MyHarness() as harness:
                yield harness
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cifra_jobs.testing.conformance.brokers.consuming import ConsumingCases
from cifra_jobs.testing.conformance.brokers.dead import DeadLetterCases
from cifra_jobs.testing.conformance.brokers.faults import FaultCases
from cifra_jobs.testing.conformance.brokers.harness import PATIENCE_S, TransportHarness
from cifra_jobs.testing.conformance.brokers.publishing import PublishingCases
from cifra_jobs.testing.conformance.brokers.queues import QueueCases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cifra_jobs.brokers.base import Transport

__all__ = ["TransportConformance", "TransportHarness"]


class TransportConformance(
    PublishingCases, ConsumingCases, DeadLetterCases, QueueCases, FaultCases
):
    """Subclass it as ``TestSomething`` with a fixture ``harness``."""

    @pytest.fixture
    def harness(self) -> Iterator[TransportHarness]:
        """The make under test; to be overridden."""
        raise NotImplementedError("give the suite a fixture named harness")

    @pytest.fixture
    def transport(self, harness: TransportHarness) -> Iterator[Transport]:
        """An open transport with the queues ``a`` and ``b``."""
        transport = harness.open()
        try:
            transport.declare(["a", "b"])
            yield transport
        finally:
            transport.close(PATIENCE_S)
