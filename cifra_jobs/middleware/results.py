"""The return value as JSON text, encoded once, for the store and for callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifra_jobs import codec
from cifra_jobs.errors import EncodeError, ResultTooLarge
from cifra_jobs.jobs.outcome import Dead, Succeeded
from cifra_jobs.middleware.base import Policy

if TYPE_CHECKING:
    from cifra_jobs.jobs.outcome import Outcome
    from cifra_jobs.middleware.attempt import Attempt

__all__ = ["Results"]


class Results(Policy):
    """A result that cannot be kept fails the task at once: a retry would repeat its effects.

    Args:
        max_size: bytes of JSON (setting ``result_backend.max_result_size``).
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size

    def after(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        """Encode the result of a success that somebody will read."""
        if type(outcome) is not Succeeded or not attempt.options.store_result:
            return outcome
        if outcome.result is None:
            outcome.encoded = "null"
            return outcome
        where = f"the result of {attempt.message.actor_name}"
        try:
            encoded = codec.dumps(codec.pack(outcome.result, where), where)
        except EncodeError as error:
            return Dead(error, "result", follow_ups=outcome.follow_ups)
        if len(encoded) > self._max_size:
            too_large = ResultTooLarge(
                f"{where} has {len(encoded)} bytes as JSON; max_result_size is {self._max_size}."
                " Store it elsewhere and return its key"
            )
            return Dead(too_large, "result", follow_ups=outcome.follow_ups)
        outcome.encoded = encoded.decode()
        return outcome
