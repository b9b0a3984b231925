"""What one run is about, handed from the harness to every process of a contestant."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.contestants.ledger import Ledger

#: The one environment variable that the harness sets for contestants.
VARIABLE = "CIFRA_BENCHMARK_RUN"

#: Brings every message to some 300 bytes on the wire.
PADDING = "x" * 100


@dataclass(frozen=True)
class Run:
    """One run of one contestant.

    Attributes:
        amqp_url: The private RabbitMQ.
        redis_url: The private Redis.
        queues: Queue names; tasks live on the first.
        queue_arguments: The `x-` arguments that every contestant's queue gets.
        ledger_path: The shared ledger.
        prefetch: Unacknowledged deliveries that one worker process may hold.
        results: Whether results (and state, where a contestant has it) are stored.
        confirm: Whether a blocking send waits for the broker's confirm.
    """

    amqp_url: str
    redis_url: str
    queues: tuple[str, ...]
    queue_arguments: dict[str, Any]
    ledger_path: str
    prefetch: int
    results: bool
    confirm: bool

    @classmethod
    def from_environment(cls) -> Run:
        """The run that this process belongs to."""
        values = json.loads(os.environ[VARIABLE])
        return cls(**{**values, "queues": tuple(values["queues"])})

    def to_environment(self) -> dict[str, str]:
        """The variable to start a contestant's processes with."""
        return {VARIABLE: json.dumps(asdict(self))}

    def open_ledger(self) -> Ledger:
        """The ledger of this run."""
        return Ledger(Path(self.ledger_path))
