"""The one script that applies operations in Redis, put together from ``lua/*.lua``.

A file of ``lua/`` holds one verb and says what goes in and comes out. The arrows between states
are written in ``jobs/state.py`` alone; the script's copy is generated from there.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from cifra_jobs.jobs.state import ARROWS, TaskState

__all__ = ["Script", "commit_script"]

#: In the order in which they use each other.
_PARTS = (
    "begin",
    "tell",
    "create",
    "fail_send",
    "claim",
    "start",
    "progress",
    "stage",
    "finish",
    "release",
    "revoke",
    "get",
    "watch",
    "unwatch",
    "beat",
    "gone",
    "live",
    "apply",
)

#: Asked first: nearly every record that is looked at is in one of these.
_COMMON = (TaskState.QUEUED, TaskState.RUNNING, TaskState.SUCCESS)


class Script:
    """A script and the name under which Redis remembers it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _arrows() -> str:
    """A Lua function that gives the states after a state, as text between spaces.

    A chain of comparisons of constants: a table would be built anew at every call of the script.
    """
    lines = ["local function arrows_of(state)"]
    for state in (*_COMMON, *(state for state in ARROWS if state not in _COMMON)):
        targets = "".join(f" {target}" for target in sorted(ARROWS[state]))
        lines.append(f"  if state == '{state}' then return '{targets and targets + ' '}' end")
    return "\n".join([*lines, "  return ''", "end", ""])


@cache
def commit_script() -> Script:
    """The script; its one argument list is ``(operations as JSON, namespace)``."""
    folder = resources.files("cifra_jobs.store") / "lua"
    parts = [(folder / f"{name}.lua").read_text("utf-8") for name in _PARTS]
    return Script("\n".join([_arrows(), *parts]))
