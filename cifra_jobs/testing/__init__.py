"""Help for tests of tasks, of brokers and of stores."""

from __future__ import annotations

from cifra_jobs.testing.assertions import eventually
from cifra_jobs.testing.clock import FakeClock
from cifra_jobs.testing.enqueued import assert_enqueued, refute_enqueued
from cifra_jobs.testing.proxy import TcpProxy

__all__ = [
    "FakeClock",
    "TcpProxy",
    "assert_enqueued",
    "eventually",
    "refute_enqueued",
]
