"""Asking the broker from an ordinary thread, and waiting for the answer."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from cifra_jobs.brokers.rabbitmq.declaring import to_broker_error
from cifra_jobs.brokers.rabbitmq.listener import ConnectionLost
from cifra_jobs.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from cifra_jobs.brokers.rabbitmq.connection import Connection

__all__ = ["Dialog", "ask"]

T = TypeVar("T")

#: Before asking again after the connection was lost, in seconds.
_RETRY_S = 0.05


def ask(
    connection: Connection, start: Callable[[Callable[[Exception | None], None]], None],
    timeout_s: float,
) -> None:  # fmt: skip
    """Run ``start`` on the I/O thread as soon as the connection is up, and wait until it is done.

    It is run again where the connection is lost before the answer.

    Raises:
        BrokerError: it failed; `BrokerUnavailable` when no answer came in time.
        RuntimeError: asked on the I/O thread, which would wait for itself.
    """
    if connection.is_io_thread:
        raise RuntimeError("a callback of the transport cannot wait for the broker: use a thread")
    answer: Future[None] = Future()
    is_over = False

    def begin() -> None:
        # Not begun in time, it must not happen later, when nobody expects it any more.
        if not is_over:
            start(done)

    def done(error: Exception | None) -> None:
        if error is None:
            answer.set_result(None)
        elif isinstance(error, ConnectionLost):
            connection.call_later(_RETRY_S, partial(connection.when_up, begin))
        else:
            answer.set_exception(to_broker_error(error, connection.address))

    connection.call(partial(connection.when_up, begin))
    try:
        answer.result(timeout_s)
    except TimeoutError:
        is_over = True
        raise BrokerUnavailable(
            f"RabbitMQ at {connection.address} did not answer within {timeout_s:.3g} s"
            + (f": {connection.trouble}" if connection.trouble else "")
        ) from None


class Dialog:
    """A channel of its own for several questions, one after the other.

    Closing it gives back whatever was taken from a queue and not acked.

    Args:
        connection: to talk on.
        timeout_s: for each question.
    """

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._channel: Any = None
        self._fail: Callable[[Exception | None], None] | None = None

    def __enter__(self) -> Self:
        def start(done: Callable[[Exception | None], None]) -> None:
            self._fail = done
            self._connection.open_channel(partial(on_open, done), on_close)

        def on_open(done: Callable[[Exception | None], None], channel: Any) -> None:
            self._channel = channel
            self._fail = None
            done(None)

        def on_close(_: Any, reason: Exception) -> None:
            self._channel = None
            fail, self._fail = self._fail, None
            if fail is not None:
                fail(reason)

        ask(self._connection, start, self._timeout_s)
        return self

    def do(self, action: Callable[[Any, Callable[[T], None]], None]) -> T:
        """Call ``action(channel, resolve)`` on the I/O thread; returns what it resolves with.

        Raises:
            BrokerError: the broker closed the channel, or did not answer in time.
        """
        box: list[T] = []

        def start(done: Callable[[Exception | None], None]) -> None:
            def resolve(value: T) -> None:
                if self._fail is not None:
                    self._fail = None
                    box.append(value)
                    done(None)

            if self._channel is None:
                done(BrokerUnavailable("the channel to RabbitMQ was lost; ask again"))
                return
            self._fail = done
            action(self._channel, resolve)

        ask(self._connection, start, self._timeout_s)
        return box[0]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        def close() -> None:
            if self._channel is not None and self._channel.is_open:
                self._channel.close()

        self._connection.call(close)
