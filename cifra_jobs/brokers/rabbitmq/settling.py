"""Which frames settle which deliveries: as few as can be, and never a foreign one.

An ack with ``multiple`` settles everything up to its tag, so it is right only where all of that is
settled; and an ack of a tag that was settled before closes the channel (406).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifra_jobs.brokers.rabbitmq.wire import settle_frame

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Ledger"]


class Ledger:
    """What of one channel's deliveries is settled.

    Args:
        channel: its number.
    """

    __slots__ = ("_ahead", "_channel", "_lowest")

    def __init__(self, channel: int) -> None:
        self._channel = channel
        #: The lowest tag that is not settled.
        self._lowest = 1
        #: Settled tags above it.
        self._ahead: set[int] = set()

    def settle(self, tags: Iterable[int], *, is_ack: bool) -> list[bytes]:
        """Frames that ack these tags, or give them back; tags settled before are left out."""
        lowest, ahead = self._lowest, self._ahead
        fresh = {tag for tag in tags if tag >= lowest}
        fresh -= ahead
        if not fresh:
            return []
        top = 0
        while True:
            if lowest in fresh:
                fresh.remove(lowest)
                top = lowest
            elif lowest in ahead:
                ahead.remove(lowest)
            else:
                break
            lowest += 1
        frames: list[bytes] = []
        if top:
            is_multiple = top != self._lowest
            frames.append(settle_frame(self._channel, top, is_ack=is_ack, is_multiple=is_multiple))
        self._lowest = lowest
        frames += [
            settle_frame(self._channel, tag, is_ack=is_ack, is_multiple=False)
            for tag in sorted(fresh)
        ]
        ahead |= fresh
        return frames
