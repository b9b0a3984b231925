"""Raw figures and machine notes, as JSON in benchmarks/results/."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness.contestants import Make, python_of
from benchmarks.harness.figures import Sample
from benchmarks.harness.peers import BENCHMARKS, versions

RESULTS = BENCHMARKS / "results"

#: The distributions whose versions matter, by make.
_DISTRIBUTIONS: dict[Make, tuple[str, ...]] = {
    "cifra": ("cifra-jobs", "dramatiq", "pika", "redis"),
    "dramatiq": ("dramatiq", "pika", "redis", "gevent"),
    "celery": ("celery", "kombu", "amqp", "redis", "gevent"),
}


def machine_notes(makes: Sequence[Make]) -> dict[str, Any]:
    """Cores, processor, load, and the versions of everything that takes part."""
    processor = re.search(r"^model name\s*: (.*)$", _text("/proc/cpuinfo"), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB$", _text("/proc/meminfo"), re.MULTILINE)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": processor[1] if processor else platform.processor(),
        "memory_gb": round(int(memory[1]) * 1024 / 1e9, 1) if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
        "rabbitmq": _last_word("dpkg-query", "-W", "rabbitmq-server"),
        "redis": _last_word("dpkg-query", "-W", "redis-server"),
        "versions": {make: versions(python_of(make), *_DISTRIBUTIONS[make]) for make in makes},
    }


def save(
    path: Path, samples: Sequence[Sample], machine: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Write one run's record."""
    record = {
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "settings": settings,
        "samples": [asdict(sample) for sample in samples],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> list[Sample]:
    """The samples of one run's record."""
    return [Sample(**sample) for sample in json.loads(path.read_text())["samples"]]


def _text(path: str) -> str:
    return Path(path).read_text()


def _last_word(*command: str) -> str | None:
    """The last word that a command prints, None where there is no such command or package."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    words = run.stdout.split()
    return words[-1] if words else None
