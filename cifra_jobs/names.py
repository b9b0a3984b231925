"""What a queue may be called: one rule for tasks, settings and the broker."""

from __future__ import annotations

import re

__all__ = ["QUEUE_NAME_RULE", "is_queue_name"]

#: The rule in words, to follow "must be".
QUEUE_NAME_RULE = (
    "1 to 64 letters, digits, '-' and '_', with a letter or '_' first and no dots"
    " ('_unrouted' is taken)"
)
#: Dramatiq's rule without dots, which separate words in routing keys; 64 keeps every key short.
_QUEUE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
#: Where messages are parked that no queue takes.
_TAKEN = "_unrouted"


def is_queue_name(name: object) -> bool:
    """Whether a queue can have this name."""
    return isinstance(name, str) and _QUEUE_NAME.fullmatch(name) is not None and name != _TAKEN
