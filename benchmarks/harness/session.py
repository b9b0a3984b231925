"""One benchmark run: its size, who takes part, its rounds, and the samples they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from rich.console import Console

from benchmarks.contestants.run import Run
from benchmarks.harness.contestants import Contestant
from benchmarks.harness.figures import Sample
from benchmarks.harness.servers import Servers, private_servers
from benchmarks.harness.stage import Stage, StageError, on_stage

#: Arguments of every contestant's queue. `classic` is what peers declare when left alone;
#: nine levels are the default of Cifra Jobs and cost everybody the same.
QUEUE_KINDS: dict[str, dict[str, Any]] = {
    "classic": {"x-queue-type": "classic"},
    "classic-9": {"x-queue-type": "classic", "x-max-priority": 9},
    "quorum": {"x-queue-type": "quorum"},
}

#: Unacknowledged deliveries a worker process may hold, where a question says nothing else.
PREFETCH = 200


@dataclass
class Session:
    """What every question is given.

    Attributes:
        pairs: Rounds; in each every contestant runs once.
        smoke: Small counts: shows that everything runs, not how fast.
        makes: The libraries that take part.
        queue_kind: A key of `QUEUE_KINDS`.
        console: Where progress goes.
        samples: All samples so far.
        failures: One sentence for each run that failed.
    """

    pairs: int
    smoke: bool
    makes: frozenset[str]
    queue_kind: str
    console: Console
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _servers: Servers | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    @contextmanager
    def servers(self) -> Iterator[None]:
        """Fresh private servers for one question."""
        with private_servers() as servers:
            self._servers = servers
            yield
        self._servers = None

    def sized(self, full: int, smoke: int) -> int:
        """The count to use in this session."""
        return smoke if self.smoke else full

    def rounds(self, contestants: Sequence[Contestant]) -> Iterator[tuple[int, Contestant]]:
        """Each contestant once a round, every other round backwards, so that drift cancels."""
        taking_part = [each for each in contestants if each.make in self.makes]
        for number in range(self.pairs):
            for each in taking_part if number % 2 == 0 else reversed(taking_part):
                yield number, each

    def measure(
        self,
        line: tuple[str, str],
        contestant: tuple[int, Contestant],
        measurement: Callable[[Stage], dict[str, float]],
        *,
        ledger_size: int,
        **run: Any,
    ) -> Sample | None:
        """Put one contestant on stage and keep what `measurement` finds.

        Args:
            line: Question and line.
            contestant: Round and contestant.
            measurement: Gives the figures.
            ledger_size: Task numbers that it uses.
            run: Fields of `Run` that differ from their usual values.

        Returns:
            The sample, or None if the contestant failed, which is reported at the end.
        """
        number, who = contestant
        try:
            with on_stage(who, self._run(**run), self._needed_servers(), ledger_size) as stage:
                figures = measurement(stage)
        except StageError as error:
            self.failures.append(f"{' / '.join(line)}, round {number}: {error}")
            self.console.print(f"  {who.name} failed; the reason follows at the end.")
            return None
        sample = Sample(*line, who.name, number, figures)
        self.samples.append(sample)
        shown = ", ".join(f"{name} {value:,.4g}" for name, value in figures.items())
        self.console.print(
            f"  {line[0]} / {line[1]}, round {number}, {who.name}: {shown}", soft_wrap=True
        )
        return sample

    def _needed_servers(self) -> Servers:
        if self._servers is None:
            message = "A question measured before its servers were started; ask within servers()."
            raise RuntimeError(message)
        return self._servers

    def _run(
        self,
        *,
        results: bool = False,
        confirm: bool = True,
        prefetch: int = PREFETCH,
        queue_count: int = 1,
        queue_kind: str | None = None,
    ) -> Run:
        """A run on queues that nobody has used before."""
        servers, name = self._needed_servers(), f"bench{next(self._numbers)}"
        return Run(
            amqp_url=servers.rabbitmq.url,
            redis_url=servers.redis.url,
            queues=tuple(f"{name}_{index}" for index in range(queue_count)),
            queue_arguments=QUEUE_KINDS[queue_kind or self.queue_kind],
            ledger_path="",
            prefetch=prefetch,
            results=results,
            confirm=confirm,
        )
