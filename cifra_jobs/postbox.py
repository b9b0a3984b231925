"""Hand work from any thread to an event loop, one wake-up for a burst.

``loop.call_soon_threadsafe`` writes to a socket at every call; under load that costs more than the
work handed over. A postbox wakes its loop only when it goes from empty to not empty.
"""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["Postbox", "postbox_of"]


class Postbox:
    """Calls waiting for one event loop. Items run in order, on the loop's thread."""

    __slots__ = ("__weakref__", "_is_awake", "_items", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak: kept beside its loop, it would otherwise keep every loop that ever was.
        self._loop = weakref.ref(loop)
        self._items: deque[tuple[Callable[..., None], Any]] = deque()
        self._is_awake = False

    def post(self, call: Callable[[Any], None], argument: Any) -> None:
        """Run ``call(argument)`` on the loop, soon. Safe from any thread.

        Raises:
            RuntimeError: the loop is closed.
        """
        self._items.append((call, argument))
        # A lost race sets the flag twice: one wake-up too many, never one too few, because the
        # loop clears the flag before it looks at the items.
        if not self._is_awake:
            self._is_awake = True
            self._alive().call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._is_awake = False
        items = self._items
        for _ in range(len(items)):
            call, argument = items.popleft()
            try:
                call(argument)
            except Exception as error:  # noqa: BLE001 - one caller's mistake must not stop the rest
                self._alive().call_exception_handler(
                    {"message": f"a call handed to the loop failed: {call!r}", "exception": error}
                )

    def _alive(self) -> asyncio.AbstractEventLoop:
        loop = self._loop()
        if loop is None:
            raise RuntimeError("the event loop of this postbox is gone")
        return loop


_postboxes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Postbox] = (
    weakref.WeakKeyDictionary()
)


def postbox_of(loop: asyncio.AbstractEventLoop) -> Postbox:
    """The one postbox of a loop."""
    postbox = _postboxes.get(loop)
    if postbox is None:
        postbox = _postboxes.setdefault(loop, Postbox(loop))
    return postbox
