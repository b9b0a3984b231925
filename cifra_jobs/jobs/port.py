"""What tasks and handles need from the application above them, and where they find it.

`app.py` implements `Backend` and installs it; nothing in this folder imports upwards.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cifra_jobs.errors import CifraError
from cifra_jobs.postbox import postbox_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import dramatiq

    from cifra_jobs.config import Settings
    from cifra_jobs.jobs.confirms import Sending
    from cifra_jobs.jobs.state import TaskRecord

__all__ = ["Backend", "awaited", "backend", "carrying", "confirm", "install", "resolved"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: While hooks of others run on a thread of the store or the broker.
_is_carrying: ContextVar[bool] = ContextVar("cifra_is_carrying", default=False)


class Backend(Protocol):
    """The application, seen from a task. Futures complete on threads of the application."""

    @property
    def settings(self) -> Settings:
        """The validated settings in force."""
        ...

    @property
    def broker(self) -> dramatiq.Broker:
        """The broker that tasks register on."""
        ...

    def prepare(self, messages: Iterable[tuple[dramatiq.Message[Any], int]]) -> Sequence[Any]:
        """What `send` takes, of messages, each with a delay in ms; refuses what cannot travel."""
        ...

    def send(self, prepared: Sequence[Any]) -> Sending:
        """Send what `prepare` gave, as one batch; never blocks for the confirms."""
        ...

    def record(self, task_id: str) -> Future[TaskRecord | None]:
        """What the store knows of a task."""
        ...

    def final_record(self, task_id: str) -> Future[TaskRecord]:
        """The record of a task once it has ended; cancel the future to stop waiting."""
        ...

    def follow(self, task_id: str, on_news: Callable[[TaskRecord], None]) -> Callable[[], None]:
        """Call ``on_news`` at each change of a task; returns what ends it."""
        ...

    def revoke(self, task_ids: Sequence[str], *, terminate: bool) -> Future[list[str | None]]:
        """Revoke tasks; gives the state each had (``None``: an id never seen)."""
        ...


_installed: Callable[[], Backend] | None = None


def install(provider: Callable[[], Backend]) -> None:
    """Say where the backend of this process is found. Called once, by ``app.py``."""
    global _installed  # noqa: PLW0603 - the one port of the process
    _installed = provider


def backend() -> Backend:
    """The backend of this process.

    Raises:
        CifraError: ``cifra_jobs`` itself was never imported, only a part of it.
    """
    if _installed is None:
        raise CifraError("no application is set up; import cifra_jobs before its parts")
    return _installed()


def resolved(value: T) -> Future[T]:
    """A future that is done."""
    future: Future[T] = Future()
    future.set_result(value)
    return future


@contextmanager
def carrying() -> Iterator[None]:
    """Inside, this thread carries the confirms of others: no send may wait for its own there."""
    token = _is_carrying.set(True)
    try:
        yield
    finally:
        _is_carrying.reset(token)


def confirm(sending: Sending, task_id: str) -> None:
    """Block until a send is confirmed; where this thread may not, have a failure logged.

    Raises:
        BrokerError: it was not.
    """
    if _is_carrying.get():
        sending.log_if_unheard(task_id)
    else:
        sending.result()


class Promise(Protocol[T_co]):
    """What `awaited` needs of a future."""

    def done(self) -> bool:
        """Whether it is done."""
        ...

    def result(self) -> T_co:
        """Its value, or its error raised."""
        ...

    def cancel(self) -> bool:
        """Take it back, where that can be."""
        ...

    def add_done_callback(self, call: Callable[[Any], None], /) -> None:
        """Call it once it is done."""
        ...


async def awaited(future: Promise[T]) -> T:
    """Await a thread's future; many of one loop share one wake-up. Cancelling cancels it."""
    if future.done():
        return future.result()
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    postbox = postbox_of(loop)

    def wake(_: Any) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def on_done(_: object) -> None:
        if not loop.is_closed():
            postbox.post(wake, None)

    future.add_done_callback(on_done)
    try:
        await waiter
    except asyncio.CancelledError:
        future.cancel()
        raise
    return future.result()
