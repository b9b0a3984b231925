"""What can happen on a connection, and how it ends."""

from __future__ import annotations

__all__ = ["ChannelRefused", "ConnectionLost", "Listener"]


class ConnectionLost(Exception):
    """The connection is down, or went down before the answer came."""


class ChannelRefused(Exception):
    """The broker closed the channel.

    Attributes:
        code: its reply code: 404 not found, 406 precondition failed, 403 access refused …
        text: its own words.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text


class Listener:
    """What happens on a connection; every method is called on its I/O thread."""

    def on_up(self) -> None:
        """It is open; channels of before are gone."""

    def on_down(self, reason: str) -> None:
        """It is lost; the channels' own callbacks were called before."""

    def on_blocked(self, *, is_blocked: bool) -> None:
        """The broker takes no publishes (memory or disk alarm), or takes them again."""

    def on_deliver(
        self, channel: int, tag: int, properties: bytes, body: bytes, *, is_redelivered: bool
    ) -> None:
        """A message for a consumer on this channel number."""

    def on_confirm(self, channel: int, tag: int, *, is_multiple: bool, is_ack: bool) -> None:
        """Publishes on this channel number were confirmed or refused."""

    def on_read_end(self) -> None:
        """All that came with one read of the socket has been told."""
