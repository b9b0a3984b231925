"""Notices a worker process that lives and yet does nothing.

Each vital thread is asked, now and then, to call back from its own loop. One that does not answer
in time, one that has ended, and a consumer that stays away while the broker answers others are
reasons to end the process: its supervisor starts a fresh one, and the broker redelivers.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from cifra_jobs.log import get_logger
from cifra_jobs.service import LoopService

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

__all__ = ["HearingCheck", "Pulse", "Watchdog"]

_log = get_logger("cifra.watchdog")

#: Asks a part to call the given function on its own thread, soon.
Pulse: TypeAlias = "Callable[[Callable[[], None]], object]"


@dataclass(slots=True)
class _Question:
    """An unanswered pulse."""

    asked_at: float
    is_answered: bool = False
    is_warned: bool = False

    def answer(self) -> None:
        self.is_answered = True


class Watchdog(LoopService):
    """Asks vital threads for signs of life.

    Args:
        pulses: by the name of the part.
        patience_s: seconds without an answer after which a part counts as stuck; half-way a
            warning is logged.
        on_stuck: called once with a sentence about the part.
        period_s: seconds between two rounds.
    """

    def __init__(
        self,
        pulses: Mapping[str, Pulse],
        on_stuck: Callable[[str], None],
        *,
        patience_s: float = 60.0,
        period_s: float = 5.0,
    ) -> None:
        super().__init__("cifra-watchdog", period_s)
        self._pulses = dict(pulses)
        self._on_stuck = on_stuck
        self._patience_s = patience_s
        self._questions: dict[str, _Question] = {}
        self._last_end = monotonic()

    def tick(self) -> None:
        """One round over all parts."""
        now = monotonic()
        if now - self._last_end > 2 * self.period_s:
            # The whole process stood still (SIGSTOP, a C call that kept the GIL): nobody could
            # have answered, so everybody gets the full time again.
            for question in self._questions.values():
                question.asked_at = now
        for name, pulse in self._pulses.items():
            self._look_at(name, pulse, now)
        self._last_end = monotonic()

    def _look_at(self, name: str, pulse: Pulse, now: float) -> None:
        question = self._questions.get(name)
        if question is None or question.is_answered:
            self._questions[name] = fresh = _Question(now)
            try:
                pulse(fresh.answer)
            except RuntimeError as error:
                self._give_up(f"the {name} has ended ({error})")
            return
        silence_s = now - question.asked_at
        if silence_s >= self._patience_s:
            self._give_up(f"the {name} has not moved for {silence_s:.0f} s")
        elif silence_s >= self._patience_s / 2 and not question.is_warned:
            question.is_warned = True
            _log.warning("a vital thread is stuck", part=name, silence_s=round(silence_s, 1))

    def _give_up(self, sentence: str) -> None:
        self._pulses = {}
        self._on_stuck(sentence)


class HearingCheck(LoopService):
    """Notices a consumer that does not come back although the broker does.

    An outage of the broker itself is waited out, however long it is.

    Args:
        is_connected: whether every queue is consumed now.
        broker_answers: asks the broker over another connection; may take seconds.
        on_deaf: called once with a sentence.
        patience_s: seconds that the consumer may need longer than others.
        period_s: seconds between two looks.
    """

    def __init__(
        self,
        is_connected: Callable[[], bool],
        broker_answers: Callable[[], bool],
        on_deaf: Callable[[str], None],
        *,
        patience_s: float = 30.0,
        period_s: float = 5.0,
    ) -> None:
        super().__init__("cifra-hearing", period_s)
        self._is_connected = is_connected
        self._broker_answers = broker_answers
        self._on_deaf = on_deaf
        self._patience_s = patience_s
        #: Since when the broker answers and the consumer is away.
        self._deaf_since: float | None = None

    def tick(self) -> None:
        """One look."""
        if self._is_connected() or not self._broker_answers():
            self._deaf_since = None
            return
        now = monotonic()
        if self._deaf_since is None:
            self._deaf_since = now
        elif now - self._deaf_since >= self._patience_s and not self._is_connected():
            self._on_deaf(
                f"the consumer has been away for {now - self._deaf_since:.0f} s although the "
                "broker answers"
            )
            self._deaf_since = None
