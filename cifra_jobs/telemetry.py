"""In-process events: low floors announce, high floors listen.

So nothing below needs to know of log lines, metrics or traces. With no listener an announcement
costs one truth test.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Listener", "attach", "emit"]

#: Gets the event's name and its facts; called on the thread that announces, so it must be brief.
Listener: TypeAlias = "Callable[[str, dict[str, Any]], None]"

_logger = logging.getLogger(__name__)
_lock = threading.Lock()
#: Replaced, never changed, so that `emit` reads it without the lock.
_listeners: tuple[Listener, ...] = ()


def attach(listener: Listener) -> Callable[[], None]:
    """Hear every event from now on.

    Args:
        listener: called with the event's name and its facts. What it raises is logged and does
            not reach the one who announced.

    Returns:
        A function that stops it; harmless twice.
    """
    global _listeners  # noqa: PLW0603 - one registry a process is the purpose
    with _lock:
        _listeners = (*_listeners, listener)

    is_attached = True

    def detach() -> None:
        nonlocal is_attached
        global _listeners  # noqa: PLW0603 - as above
        with _lock:
            if is_attached:
                remaining = list(_listeners)
                remaining.remove(listener)
                _listeners = tuple(remaining)
                is_attached = False

    return detach


def emit(name: str, /, **facts: Any) -> None:
    """Announce that something happened.

    Args:
        name: dotted, the thing and what happened to it: ``broker.connected``.
        **facts: what a listener may want to know; plain values.
    """
    if _listeners:
        _tell(name, facts)


def _tell(name: str, facts: dict[str, Any]) -> None:
    for listener in _listeners:
        try:
            listener(name, facts)
        except Exception:  # a listener is not ours, and who announces must go on
            _logger.exception("a telemetry listener failed on %s", name)
