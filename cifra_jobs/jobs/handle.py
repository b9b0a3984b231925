"""`TaskHandle` and `TaskStatus`: what a sender knows of a task."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import nullcontext
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from cifra_jobs import codec
from cifra_jobs.errors import ResultExpired, StoreError, TaskNotFound, WaitTimeout
from cifra_jobs.jobs.current import bound_run
from cifra_jobs.jobs.failure import rebuild
from cifra_jobs.jobs.port import awaited, backend, confirm
from cifra_jobs.jobs.state import TaskRecord, TaskState, status_of
from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from cifra_jobs.jobs.confirms import Sending

__all__ = ["TaskHandle", "TaskStatus"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultedTypeVar

    # A handle of a bare id: nobody knows what its task returns.
    R = DefaultedTypeVar("R", default=Any)
else:
    R = TypeVar("R")
T = TypeVar("T")

log = get_logger(__name__)


class TaskHandle(str, Generic[R]):  # noqa: SLOT000 - a sent one carries its confirm
    """The id of a task, and what can be asked of it; ``TaskHandle(id)`` attaches to any id.

    Awaiting it awaits RabbitMQ's confirm and gives the handle itself.
    """

    #: The codec writes it as a plain string.
    __cifra_plain__ = True

    sending: Sending | None = None

    @property
    def id(self) -> str:
        """The id as a plain string."""
        return str(self)

    def __await__(self) -> Generator[Any, None, TaskHandle[R]]:
        """Await the confirm of the send.

        Raises:
            BrokerUnavailable: no confirm in time; the outcome is unknown.
            UnknownQueue: nobody declared the queue.
        """
        if self.sending is not None:
            self.sending.is_awaited = True
            yield from awaited(self.sending).__await__()
        return self

    # -- the value -----------------------------------------------------------------------------

    async def get(self, timeout: float | None = None, *, propagate: bool = True) -> R:
        """Wait for the result. Inside an async task the wait lends its slot to others.

        Args:
            timeout: seconds; ``None`` waits for as long as it takes.
            propagate: with ``False`` a failure's exception is returned instead of raised.

        Raises:
            WaitTimeout: the time was up; the task goes on.
            ResultExpired: it succeeded, but its result is past ``result_expires``.
            Exception: the task's own, as its real class where it can be rebuilt, else
                `RemoteError`; `TaskTimeout`, `TaskExpired`, `TaskRevoked`, `TaskSkipped`, ….
        """
        value: R = self._value(await self._ended(timeout), propagate=propagate)
        return value

    def result(self, timeout: float | None = None, *, propagate: bool = True) -> R:
        """`get` for plain code: blocks.

        Raises:
            WouldDeadlock: called inside a thread task when no slot could free for the other.
        """
        value: R = self._value(self._ended_sync(timeout), propagate=propagate)
        return value

    get_sync = result

    async def wait(self, timeout: float | None = None) -> TaskHandle[R]:
        """Wait for the end, whatever it is; raises only `WaitTimeout`."""
        await self._ended(timeout)
        return self

    def wait_sync(self, timeout: float | None = None) -> TaskHandle[R]:
        """`wait` for plain code: blocks."""
        self._ended_sync(timeout)
        return self

    # -- the state -----------------------------------------------------------------------------

    async def status(self) -> TaskStatus:
        """What is known of the task now.

        Raises:
            TaskNotFound: an id never seen.
        """
        return TaskStatus.of(self, await awaited(backend().record(self)))

    def status_sync(self) -> TaskStatus:
        """`status` for plain code."""
        return TaskStatus.of(self, backend().record(self).result())

    async def successful(self) -> bool:
        """Whether it has ended with success."""
        return (await self.status()).status == "success"

    async def failed(self) -> bool:
        """Whether it has ended otherwise."""
        return (await self.status()).status == "failed"

    def successful_sync(self) -> bool:
        """`successful` for plain code."""
        return self.status_sync().status == "success"

    def failed_sync(self) -> bool:
        """`failed` for plain code."""
        return self.status_sync().status == "failed"

    async def follow(self) -> AsyncIterator[TaskStatus]:
        """The status now and at each change, until the end.

        Raises:
            TaskNotFound: an id never seen.
        """
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[TaskRecord] = asyncio.Queue()

        def on_news(record: TaskRecord) -> None:
            loop.call_soon_threadsafe(news.put_nowait, record)

        stop = backend().follow(self, on_news)
        try:
            status = await self.status()
            yield status
            while not status.is_terminal:
                latest = TaskStatus.of(self, await news.get())
                if latest == status:
                    continue
                status = await self._whole(latest) if latest.is_terminal else latest
                yield status
        finally:
            stop()

    async def _whole(self, last: TaskStatus) -> TaskStatus:
        """The end as recorded: the news of it does not bring times, worker and attempts."""
        try:
            return await self.status()
        except (StoreError, TaskNotFound):
            return last

    # -- cancelling ----------------------------------------------------------------------------

    async def revoke(self, *, terminate: bool = False) -> bool:
        """Cancel the task: a durable flag, which works before any worker is up.

        Args:
            terminate: ask a run under way to stop as well.

        Returns:
            Whether it had not ended before.

        Raises:
            TaskNotFound: an id never seen.
        """
        states = await awaited(backend().revoke([self], terminate=terminate))
        return self._was_open(states[0])

    def revoke_sync(self, *, terminate: bool = False) -> bool:
        """`revoke` for plain code."""
        return self._was_open(backend().revoke([self], terminate=terminate).result()[0])

    # -- inside --------------------------------------------------------------------------------

    def settle_in_context(self) -> None:
        """Block for the confirm where no loop runs, else see to it that a failure is heard of."""
        sending = self.sending
        if sending is None:
            return
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            confirm(sending, str(self))
            return
        sending.log_if_unheard(str(self))

    def _was_open(self, state: str | None) -> bool:
        if state is None:
            raise TaskNotFound(self)
        return not TaskRecord(self, TaskState(state)).is_terminal

    async def _ended(self, timeout: float | None) -> TaskRecord:
        await self
        waiting = backend().final_record(self)
        with _lent(waiting, is_async=True):
            try:
                async with asyncio.timeout(timeout):
                    record = await awaited(waiting)
            except TimeoutError as error:
                raise self._too_long(timeout) from error
        return record

    def _ended_sync(self, timeout: float | None) -> TaskRecord:
        if self.sending is not None:
            self.sending.result()
        waiting = backend().final_record(self)
        with _lent(waiting, is_async=False):
            try:
                return waiting.result(timeout)
            except (FutureTimeoutError, CancelledError) as error:
                raise self._too_long(timeout) from error
            finally:
                # However the wait ended, an interrupt included: nobody looks any more.
                waiting.cancel()

    def _too_long(self, timeout: float | None) -> WaitTimeout:
        return WaitTimeout(f"task {str(self)!r} has not ended within {timeout} s; it goes on")

    def _value(self, record: TaskRecord, *, propagate: bool) -> Any:
        if record.state is not TaskState.SUCCESS:
            error = rebuild(_loads(record.error) or {}, task_id=str(self))
            if propagate:
                raise error
            return error
        if record.result_expired:
            raise ResultExpired(f"task {str(self)!r} succeeded, but its result is past its TTL")
        return None if record.result is None else codec.loads(record.result)


@dataclass(slots=True)
class TaskStatus:
    """What is known of a task at one moment. Times are aware datetimes in UTC.

    Attributes:
        status: ``pending``, ``running``, ``success`` or ``failed``.
        state: the finer word; see ``docs/reference/states.md``.
        progress: 0..100.
        message: the line that came with the progress.
        stage: the stage that the task named itself.
        result: the return value, once it has succeeded.
        error: one line, once it has failed.
        attempts: runs started.
        execution_time: seconds of the last run.
        result_expired: it succeeded, and its result is past its TTL.
    """

    id: str
    status: str
    state: str
    task_name: str
    queue: str
    progress: float = 0.0
    message: str | None = None
    stage: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    result_expired: bool = False
    error: str | None = None
    error_type: str | None = None
    traceback: str | None = None
    attempts: int = 0
    worker: str | None = None
    priority: int | None = None
    created_at: datetime | None = None
    eta: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    execution_time: float | None = None
    is_terminal: bool = False
    root_id: str | None = None
    parent_id: str | None = None
    _record: TaskRecord | None = field(default=None, repr=False)

    @classmethod
    async def get(cls, task_id: str) -> TaskStatus:
        """What is known of the task now.

        Raises:
            TaskNotFound: an id never seen.
            StoreUnavailable: Redis does not answer.
        """
        return cls.of(task_id, await awaited(backend().record(task_id)))

    @classmethod
    def get_sync(cls, task_id: str) -> TaskStatus:
        """`get` for plain code: blocks."""
        return cls.of(task_id, backend().record(task_id).result())

    @classmethod
    def of(cls, task_id: str, record: TaskRecord | None) -> TaskStatus:
        """The status that a record tells."""
        if record is None:
            raise TaskNotFound(task_id)
        error = _loads(record.error) or {}
        last = record.finished_at
        took = last - record.started_at if last is not None and record.started_at else None
        return cls(
            id=str(task_id),
            status=status_of(record.state),
            state=str(record.state),
            task_name=record.task_name,
            queue=record.queue,
            progress=100.0 if record.state is TaskState.SUCCESS else record.progress,
            message=record.message,
            stage=record.stage,
            meta=record.meta,
            result=codec.loads(record.result) if record.result is not None else None,
            result_expired=record.result_expired,
            error=_one_line(error),
            error_type=error.get("type", "").replace(":", ".") or None,
            traceback=error.get("traceback"),
            attempts=record.attempts,
            worker=record.worker,
            priority=record.priority,
            created_at=_moment(record.created_at),
            eta=_moment(record.eta),
            started_at=_moment(record.started_at),
            finished_at=_moment(record.finished_at),
            execution_time=None if took is None else took / 1000,
            is_terminal=record.is_terminal,
            root_id=record.root_id,
            parent_id=record.parent_id,
            _record=record,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values for HTTP and ``--json``: ids and times as strings."""
        shown: dict[str, Any] = {}
        for item in fields(self):
            if item.name.startswith("_"):
                continue
            value = getattr(self, item.name)
            shown[item.name] = value.isoformat() if isinstance(value, datetime) else value
        packed = self._record.result if self._record is not None else None
        shown["result"] = None if packed is None else codec.plain(orjson.loads(packed))
        return shown


def _lent(waiting: Future[T], *, is_async: bool) -> AbstractContextManager[None]:
    run = bound_run.get()
    if run is None or waiting.done():
        return nullcontext()
    return run.lent(waiting, is_async=is_async)


def _loads(text: str | None) -> dict[str, Any] | None:
    loaded: dict[str, Any] | None = None if text is None else orjson.loads(text)
    return loaded


def _one_line(error: dict[str, Any]) -> str | None:
    if not error:
        return None
    name = error["type"].rpartition(":")[2]
    return f"{name}: {error['message']}" if error.get("message") else name


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
