"""`WorkerFile`: which workers a deployment runs (``worker_config.yaml``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from cifra_jobs.config.problems import config_error, nearest
from cifra_jobs.config.sections import Section, WorkerDefaults
from cifra_jobs.config.sources import load_yaml
from cifra_jobs.config.units import Bytes, Positive, QueueName
from cifra_jobs.errors import ConfigError

__all__ = ["WorkerEntry", "WorkerFile"]

#: Where a worker file is looked for when none is named.
_CUSTOMARY = ("worker_config.yaml", "workers/worker_config.yaml")
#: Keys at the top of the file; the settings may live in the same file.
_TOP = ("workers", "background_jobs")


class WorkerEntry(Section):
    """One worker: its queues, and how many tasks at once in how many processes."""

    queues: list[QueueName] = Field(description="queues to take tasks from", min_length=1)
    concurrency: Positive | None = Field(
        None, description="tasks at once, in total over all processes; unset: default_concurrency"
    )
    processes: Positive | None = Field(
        None, description="processes that share the concurrency; unset is 1"
    )
    mode: Literal["threads", "async", "processes", "auto"] = Field(
        "auto",
        description="auto: threads for plain functions, an event loop for async ones; "
        "processes: one-slot children for work that keeps a core busy",
    )
    prefetch_multiplier: Positive | None = Field(
        None, description="messages taken ahead, as a multiple of concurrency; unset is 1"
    )
    max_tasks_per_child: Positive | None = Field(
        None, description="tasks after which a process is replaced; unset is never"
    )
    max_memory_per_child: Bytes | None = Field(
        None, description="memory, such as 512MB, past which a process is replaced; unset is never"
    )

    @field_validator("queues")
    @classmethod
    def _once_each(cls, queues: list[str]) -> list[str]:
        return list(dict.fromkeys(queues))

    @model_validator(mode="after")
    def _check_division(self) -> WorkerEntry:
        if self.concurrency is None or self.processes is None:
            return self
        if self.processes > self.concurrency:
            raise ValueError(
                f"{self.processes} processes cannot share a concurrency of {self.concurrency}: "
                "it is the total over all of them"
            )
        if self.mode == "processes" and self.processes != self.concurrency:
            raise ValueError(
                "mode: processes runs one task in each process, so leave processes out "
                f"or make it equal to the concurrency ({self.concurrency})"
            )
        return self

    def resolved(self, defaults: WorkerDefaults) -> WorkerEntry:
        """The entry with every number given: its own, else the deployment's default.

        ``max_tasks_per_child`` and ``max_memory_per_child`` may stay ``None``: never.
        """
        concurrency = self.concurrency or max(defaults.default_concurrency, self.processes or 1)
        one_each = concurrency if self.mode == "processes" else 1
        return self.model_copy(
            update={
                "concurrency": concurrency,
                "processes": self.processes or one_each,
                "prefetch_multiplier": self.prefetch_multiplier
                or defaults.prefetch_multiplier
                or 1,
                "max_tasks_per_child": self.max_tasks_per_child or defaults.max_tasks_per_child,
                "max_memory_per_child": self.max_memory_per_child or defaults.max_memory_per_child,
            }
        )

    @property
    def shares(self) -> tuple[int, ...]:
        """How many tasks at once in each process; of a resolved entry."""
        processes = self.processes or 1
        each, rest = divmod(self.concurrency or processes, processes)
        return tuple(each + (number < rest) for number in range(processes))


class WorkerFile(Section):
    """The workers of a deployment by name."""

    workers: dict[str, WorkerEntry] = Field(description="workers by name", min_length=1)

    @staticmethod
    def find() -> Path | None:
        """The worker file in a customary place: here, or in ``workers/``."""
        return next((path for path in map(Path, _CUSTOMARY) if path.is_file()), None)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> WorkerFile:
        """Read and check a worker file.

        Args:
            path: by default ``worker_config.yaml`` here or in ``workers/``.

        Raises:
            ConfigError: there is no such file, or something in it is wrong.
        """
        found = Path(path) if path is not None else cls.find()
        if found is None:
            raise ConfigError(
                f"there is no worker file ({' or '.join(_CUSTOMARY)}); name one with --config, "
                "or a queue with --queue"
            )
        data = load_yaml(found)
        for key in data:
            if key not in _TOP and (guess := nearest(str(key), _TOP)):
                raise ConfigError(f"{found}: there is no key {key!r}; did you mean {guess!r}?")
        return cls.parse(data.get("workers"), source=str(found))

    @classmethod
    def parse(cls, workers: Any, *, source: str) -> WorkerFile:
        """Check the value of ``workers:``; ``source`` says in errors where it came from.

        Raises:
            ConfigError: something in it is wrong.
        """
        if not isinstance(workers, dict) or not workers:
            raise ConfigError(f"{source} names no workers: it needs 'workers: {{NAME: {{…}}}}'")
        try:
            return cls(workers={str(name): entry for name, entry in workers.items()})
        except ValidationError as error:
            raise config_error(error, cls, origins={(): source}) from None

    def entry(self, name: str) -> WorkerEntry:
        """The worker of that name.

        Raises:
            ConfigError: there is none; the nearest name is told.
        """
        if name in self.workers:
            return self.workers[name]
        guess = nearest(name, self.workers)
        hint = f"did you mean {guess!r}?" if guess else f"there are {', '.join(self.workers)}"
        raise ConfigError(f"there is no worker {name!r}; {hint}")
