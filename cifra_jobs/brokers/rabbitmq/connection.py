# ruff: noqa: SLF001 - what makes pika fast enough is not in its public face
"""One connection that comes back, on an I/O thread of its own; the only importer of pika.

Everything that happens on it is told to a `Listener`, on that thread. Whatever a callback raises
is logged; what leaves the connection in doubt drops it, and it comes back.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import socket
import ssl
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions
import pika.frame

from cifra_jobs.backoff import reconnect_delays
from cifra_jobs.brokers.rabbitmq.ioloop import Loop
from cifra_jobs.brokers.rabbitmq.listener import ChannelRefused, ConnectionLost, Listener
from cifra_jobs.brokers.rabbitmq.scanner import FrameScanner
from cifra_jobs.brokers.rabbitmq.urls import describe
from cifra_jobs.clock import system_clock
from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["GET_EMPTY", "Connection"]

_log = get_logger(__name__)

# pika tells one lost connection in up to six records, with tracebacks; here it is told in one.
if logging.getLogger("pika").level == logging.NOTSET:
    logging.getLogger("pika").setLevel(logging.CRITICAL)

#: The reply of ``basic.get`` on an empty queue, for which pika has no callback.
GET_EMPTY = pika.spec.Basic.GetEmpty

#: pika reads 4 KB at a time, which is a system call for every dozen messages.
_RECEIVE_BYTES = 128 * 1024

#: A connection that lasted so long was a good one: the next back-off starts small again.
_STABLE_S = 5.0

_CONNECT_TIMEOUT_S = 5.0

_NOT_YET = "not connected yet"

_NO_CHANNEL = 504


class _Link(pika.SelectConnection):  # type: ignore[misc]
    """pika's connection with the busy frames taken past its objects."""

    def __init__(self, parameters: Any, owner: Connection, ioloop: Loop) -> None:
        self.is_scanning = False
        self._is_plain = False
        self._owner = owner
        self._listener = owner.listener
        self.scanner = FrameScanner(self)
        self.on_deliver = self._listener.on_deliver
        self.on_confirm = self._listener.on_confirm
        super().__init__(
            parameters,
            on_open_callback=owner._on_open,
            on_open_error_callback=owner._on_lost,
            on_close_callback=owner._on_lost,
            custom_ioloop=ioloop,
        )

    def on_frame(self, data: bytes) -> None:
        self._process_frame(pika.frame.decode_frame(data)[1])

    def write(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        self.frames_sent += 1
        transport = self._transport
        if transport is None:
            return
        if self._is_plain and not transport.get_write_buffer_size():
            # At once, not after a round through the poller: a lone sender waits for this.
            with contextlib.suppress(OSError):
                data = data[transport._sock.send(data) :]
            if not data:
                return
        transport.write(data)

    def abort(self, reason: str) -> None:
        if self._transport is not None:
            self._terminate_stream(pika.exceptions.StreamLostError(reason))

    def close_socket(self) -> None:
        # The descriptor only: after a fork, the parent's connection must not notice.
        if self._transport is not None:
            self._transport._sock.close()

    def _on_connection_workflow_done(self, conn_or_exc: Any) -> None:
        # Closed during the handshake, pika passes the class of the exception for the exception,
        # and then fails inside: the close would never end.
        if isinstance(conn_or_exc, type):
            conn_or_exc = conn_or_exc()
        super()._on_connection_workflow_done(conn_or_exc)

    def _proto_connection_made(self, transport: Any) -> None:
        transport._MAX_RECV_BYTES = _RECEIVE_BYTES
        # A TLS socket may have to read before it can write: that dance is pika's.
        self._is_plain = not isinstance(transport._sock, ssl.SSLSocket)
        super()._proto_connection_made(transport)

    def _on_data_available(self, data_in: bytes) -> None:
        if not self.is_scanning:
            super()._on_data_available(data_in)
            return
        self.bytes_received += len(data_in)
        self.scanner.feed(data_in)
        self._listener.on_read_end()


class Connection:
    """A connection that reconnects for ever, until it is closed.

    Args:
        urls: one address for each host; tried in a random order, then round and round.
        name: shown in the management UI.
        heartbeat_s: how often the two sides prove to each other that they live.
        listener: is told what happens.
    """

    def __init__(
        self, urls: Sequence[str], *, name: str, heartbeat_s: int, listener: Listener
    ) -> None:
        self.listener = listener
        self.name = name
        self.is_blocked = False
        #: Why it is down, in words; empty while it is up.
        self.trouble = _NOT_YET
        self._urls = itertools.cycle(random.sample(list(urls), len(urls)))
        self._url = urls[0]
        self._heartbeat_s = heartbeat_s
        self._link: _Link | None = None
        self._connecting: _Link | None = None
        self._delays = reconnect_delays()
        self._up_since = 0.0
        self._waiting: list[Callable[[], None]] = []
        #: Cheaper to ask than the thread, and asked at each publish.
        self._is_running = False
        self._is_closing = False
        self._is_abandoned = False
        self._ioloop = Loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    # ── from any thread ──────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Start the thread; the first attempt to connect begins at once."""
        self._is_running = True
        self._thread.start()

    def call(self, callback: Callable[[], None]) -> None:
        """Run it on the I/O thread, soon; in a forked child, never."""
        if self._is_abandoned:
            return
        self._ioloop.add_callback_threadsafe(partial(self._guard, callback))

    def close(self, timeout_s: float) -> None:
        """Close politely, within this time, and end the thread."""
        self.call(partial(self._shut, timeout_s))
        if not self.is_io_thread:
            self._thread.join(timeout_s + 1.0)

    def abandon(self) -> None:
        """After a fork, in the child: let go of what belongs to the parent."""
        self._is_abandoned = True
        with contextlib.suppress(OSError, AttributeError):
            for link in (self._link, self._connecting):
                if link is not None:
                    link.close_socket()
            self._ioloop.close()

    @property
    def is_up(self) -> bool:
        """Whether it is open now."""
        return self._link is not None

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs: from `start` to `close`, and never in a forked child."""
        return self._is_running and not self._is_abandoned

    @property
    def is_io_thread(self) -> bool:
        """Whether the caller runs on the I/O thread, where nothing may wait."""
        return threading.current_thread() is self._thread

    @property
    def address(self) -> str:
        """The host in use, or tried last; without the password."""
        return describe(self._url)

    @property
    def server(self) -> dict[str, Any]:
        """What the broker says of itself; empty while down."""
        return dict(self._link.server_properties or {}) if self._link else {}

    # ── on the I/O thread ────────────────────────────────────────────────────────────────────────

    @property
    def frame_max(self) -> int:
        """The largest frame that was agreed on, in bytes."""
        return self._link.params.frame_max if self._link else 4096

    @property
    def unsent_bytes(self) -> int:
        """What waits for room in the socket."""
        return self._link._get_write_buffer_size() if self._link else 0

    def write(self, data: bytes) -> None:
        """Put whole frames on the wire."""
        if self._link is not None:
            self._link.write(data)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> None:
        """Run it after so long; also while the connection is down."""
        self._ioloop.call_later(delay_s, partial(self._guard, callback))

    def when_up(self, callback: Callable[[], None]) -> None:
        """Run it now, or as soon as the connection is up."""
        if self._link is not None:
            self._guard(callback)
        else:
            self._waiting.append(callback)

    def open_channel(
        self,
        on_open: Callable[[Any], None],
        on_close: Callable[[Any, ChannelRefused | ConnectionLost], None],
    ) -> None:
        """Open a channel; exactly one of the two is called first, ``on_close`` always last."""
        if self._link is None or not self._link.is_open:
            on_close(None, ConnectionLost(self.trouble or "it is closing"))
            return
        link = self._link

        def closed(channel: Any, reason: Exception) -> None:
            link.scanner.forget(channel.channel_number)
            on_close(channel, _explain(reason))

        try:
            link.channel(on_open_callback=on_open).add_on_close_callback(closed)
        except pika.exceptions.NoFreeChannels:
            on_close(None, ChannelRefused(_NO_CHANNEL, "the connection has no free channel"))

    def converse(
        self, step: Callable[[Any], None], done: Callable[[Exception | None], None]
    ) -> None:
        """Run a step on a channel of its own; ``done`` is called when all its answers are in."""
        is_done = False

        def finish(error: Exception | None) -> None:
            nonlocal is_done
            if not is_done:
                is_done = True
                done(error)

        def on_open(channel: Any) -> None:
            try:
                step(channel)
            except Exception as error:  # noqa: BLE001 - handed to the asker
                channel.close()
                finish(error)
                return
            # The answers come in order: this one is the last.
            channel.basic_qos(prefetch_count=1, callback=lambda _: on_answered(channel))

        def on_answered(channel: Any) -> None:
            channel.close()
            finish(None)

        self.open_channel(on_open, lambda _, reason: finish(reason))

    def drop(self, reason: str) -> None:
        """Give this connection up; another one will be made."""
        if self._link is not None:
            self._link.abort(reason)

    # ── private ──────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        self._guard(self._connect)
        while True:
            try:
                self._ioloop.start()
                break
            except Exception:  # noqa: BLE001 - the thread outlives everything
                _log.exception("connection failed inside; reconnecting", connection=self.name)
                self._guard(partial(self.drop, "an internal error"))
        if self._link is not None:
            # The broker did not answer the polite way.
            self._link.close_socket()
        self._is_running = False
        self._ioloop.close()

    def _guard(self, callback: Callable[[], None]) -> None:
        # pika's loop loses timers (its heartbeats among them) when a callback raises.
        try:
            callback()
        except Exception:  # noqa: BLE001 - pika calls, nobody else could catch it
            _log.exception("callback failed", connection=self.name)

    def _connect(self) -> None:
        if self._is_closing or self._connecting is not None or self._link is not None:
            return
        self._url = next(self._urls)
        try:
            self._connecting = _Link(self._parameters(), self, self._ioloop)
        except Exception as error:  # noqa: BLE001 - tried again like any other failure
            _log.exception("cannot start to connect", connection=self.name, broker=self.address)
            self._on_lost(None, error)

    def _parameters(self) -> pika.URLParameters:
        parameters = pika.URLParameters(self._url)
        parameters.heartbeat = self._heartbeat_s
        parameters.socket_timeout = _CONNECT_TIMEOUT_S
        parameters.stack_timeout = 2 * _CONNECT_TIMEOUT_S
        parameters.client_properties = {
            "connection_name": f"{self.name} {os.getpid()}@{socket.gethostname()}",
            "product": "cifra_jobs",
            "version": f"pika {pika.__version__}",
        }
        return parameters

    def _on_open(self, link: _Link) -> None:
        self._link, self._connecting = link, None
        self._up_since = system_clock.monotonic()
        was_in_trouble = self.trouble != _NOT_YET
        self.trouble = ""
        link.is_scanning = True
        link.add_on_connection_blocked_callback(lambda _, frame: self._on_blocked(frame))
        link.add_on_connection_unblocked_callback(lambda *_: self._on_blocked(None))
        # That the first attempt succeeds is no news; that it does after a trouble, is.
        if was_in_trouble:
            _log.info("connected", connection=self.name, broker=self.address)
        self._guard(self.listener.on_up)
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            self._guard(callback)

    def _on_blocked(self, frame: Any) -> None:
        self.is_blocked = frame is not None
        if frame is not None:
            _log.warning(
                "the broker takes no publishes: it is short of memory or disk",
                connection=self.name,
                reason=frame.method.reason,
            )
        self._guard(partial(self.listener.on_blocked, is_blocked=self.is_blocked))

    def _on_lost(self, _: Any, error: Exception) -> None:
        was_up = self._link is not None
        self._link = self._connecting = None
        self.is_blocked = False
        self.trouble = f"{self.address}: {_sentence(error)}"
        if was_up:
            self._guard(partial(self.listener.on_down, self.trouble))
        if self._is_closing:
            self._ioloop.stop()
            return
        if was_up and system_clock.monotonic() - self._up_since > _STABLE_S:
            self._delays = reconnect_delays()
        delay_s = next(self._delays)
        _log.warning(
            "connection lost" if was_up else "cannot connect",
            connection=self.name,
            reason=self.trouble,
            retry_in_s=round(delay_s, 2),
        )
        self.call_later(delay_s, self._connect)

    def _shut(self, timeout_s: float) -> None:
        self._is_closing = True
        link = self._link or self._connecting
        if link is None or link.is_closing or link.is_closed:
            self._ioloop.stop()
            return
        # The broker may not answer: leave when the time is up, its heartbeat will notice.
        self._ioloop.call_later(timeout_s, self._ioloop.stop)
        link.close()


def _explain(reason: Exception) -> ChannelRefused | ConnectionLost:
    if isinstance(reason, pika.exceptions.ChannelClosedByClient):
        return ChannelRefused(0, "closed by us")
    if isinstance(reason, pika.exceptions.ChannelClosed):
        return ChannelRefused(reason.reply_code, reason.reply_text)
    return ConnectionLost(_sentence(reason))


def _sentence(error: BaseException) -> str:
    # pika wraps the cause in up to four layers, each of which prints all the others.
    while True:
        inner = getattr(error, "exception", None)
        if inner is None and (several := getattr(error, "exceptions", None)):
            inner = several[-1]
        if inner is None and error.args and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if not isinstance(inner, BaseException):
            return f"{type(error).__name__}: {error}"
        error = inner
