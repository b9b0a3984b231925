"""`RedisStore`: state in Redis, over one command connection and one pub/sub connection."""

from __future__ import annotations

import re
import threading
from itertools import chain
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from redis.connection import Connection, parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError

from cifra_jobs.clock import Clock, system_clock
from cifra_jobs.errors import ConfigError, StoreUnavailable
from cifra_jobs.store import keys, wire
from cifra_jobs.store.base import OperationRefused
from cifra_jobs.store.channel import Channels
from cifra_jobs.store.forks import renew_after_fork
from cifra_jobs.store.scripts import commit_script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cifra_jobs.store.base import Operation, Reply, Subscription

__all__ = ["RedisStore"]

#: Seconds to reach Redis.
CONNECT_TIMEOUT_S = 1.0
#: Seconds for Redis to answer one round trip.
ANSWER_TIMEOUT_S = 5.0
#: Operations of one script call: some 3 ms of Redis's one thread, which others wait for.
MAX_OPERATIONS = 500
#: Bytes of one script call, for the same reason, unless a single operation is larger.
MAX_BLOB_BYTES = 1_000_000

#: What Redis says when it cannot serve anybody now; other errors speak of the operation itself.
#: Inside a script the code stands after a dash on servers before 7.
_UNAVAILABLE = re.compile(
    r"(?:^|-)(?:BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|MOVED|NOAUTH|NOPERM|NOREPLICAS|OOM"
    r"|READONLY|TRYAGAIN|UNKILLABLE|WRONGPASS)\b"
)


class RedisStore:
    """The `StateStore` of a deployment.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with password and database.
        namespace: prefix of every key and channel.
        name: what ``CLIENT LIST`` shows for the connections of this process.
        clock: judges whether a result has expired.

    Raises:
        ConfigError: the URL cannot be understood.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "cifra",
        name: str = "cifra_jobs",
        clock: Clock = system_clock,
    ) -> None:
        self.address = _without_password(url)
        self._url = url
        self._namespace = namespace
        self._name = name.replace(" ", "_")
        self._clock = clock
        self._make_connection()
        self.renew()
        renew_after_fork(self)

    def commit(self, operations: Sequence[Operation]) -> list[Reply]:
        """See `StateStore.commit`."""
        if not operations:
            return []
        now = self._clock.now_ms()
        try:
            blobs = _blobs([wire.encode(operation, now) for operation in operations])
        except orjson.JSONEncodeError as error:
            raise OperationRefused(f"an operation has no JSON form: {error}") from error
        replies = self._ask(lambda connection: self._run_script(connection, blobs))
        return [
            wire.decode(operation, reply, now)
            for operation, reply in zip(operations, replies, strict=True)
        ]

    def publish(self, channel: str, payload: str) -> None:
        """See `StateStore.publish`."""
        name = keys.channel(self._namespace, channel)
        self._ask(lambda connection: _command(connection, "PUBLISH", name, payload))

    def subscribe(
        self,
        channel: str,
        on_message: Callable[[str], None],
        on_reconnect: Callable[[], None] | None = None,
    ) -> Subscription:
        """See `StateStore.subscribe`."""
        name = keys.channel(self._namespace, channel)
        return self._channels.subscribe(name, on_message, on_reconnect)

    def check(self) -> dict[str, str]:
        """See `StateStore.check`.

        ``version``, ``appendonly`` (yes or no), ``maxmemory_policy``, ``maxmemory`` and
        ``used_memory`` (both as Redis spells sizes for people), ``server_time_usec`` (its clock).
        """
        text = self._ask(lambda connection: _command(connection, "INFO"))
        facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return {
            "version": facts.get("redis_version", ""),
            "appendonly": "yes" if facts.get("aof_enabled") == "1" else "no",
            "maxmemory_policy": facts.get("maxmemory_policy", ""),
            "maxmemory": facts.get("maxmemory_human", ""),
            "used_memory": facts.get("used_memory_human", ""),
            "server_time_usec": facts.get("server_time_usec", ""),
        }

    def close(self) -> None:
        """See `StateStore.close`."""
        self._channels.close()
        with self._lock:
            if self._connection is not None:
                self._connection.disconnect()
            self.renew()

    def renew(self) -> None:
        """Forget both connections: each is opened again when it is needed."""
        self._lock = threading.Lock()
        self._connection: Any = None
        self._channels = Channels(self._open_line, f"cifra-channels-{self._name}")

    # ── the command connection ──

    def _make_connection(self) -> Any:
        try:
            options = parse_url(self._url)
            make = options.pop("connection_class", Connection)
            return make(
                **{
                    "socket_connect_timeout": CONNECT_TIMEOUT_S,
                    "socket_timeout": ANSWER_TIMEOUT_S,
                    **options,
                    "client_name": self._name,
                    "decode_responses": True,
                    "driver_info": None,
                    "protocol": 2,
                }
            )
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the Redis URL {self.address} is not understood: {error}") from error

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """Put a question to Redis; every failure is `StoreUnavailable`.

        A connection that broke since it was last used (Redis was restarted) is replaced once,
        at once: the question has not been waited for yet.
        """
        with self._lock:
            is_used = self._connection is not None and self._connection.is_connected
            try:
                try:
                    return self._ask_once(question)
                except RedisConnectionError:
                    if not is_used:
                        raise
                    return self._ask_once(question)
            except ResponseError as error:
                if _UNAVAILABLE.search(_said(error)):
                    raise self._unavailable(error) from error
                raise OperationRefused(
                    f"Redis at {self.address} refused: {_said(error)}"
                ) from error
            except RedisError as error:
                raise self._unavailable(error) from error

    def _ask_once(self, question: Callable[[Any], Any]) -> Any:
        if self._connection is None:
            self._connection = self._make_connection()
        try:
            self._connection.connect()
            return question(self._connection)
        except ResponseError:
            raise
        except BaseException:
            # Half an answer may be left in it.
            self._connection.disconnect()
            raise

    def _unavailable(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(f"Redis at {self.address} is not available: {_said(error)}")

    def _run_script(self, connection: Any, blobs: list[bytes]) -> list[Any]:
        script = commit_script()
        calls = [("EVALSHA", script.sha, "0", blob, self._namespace) for blob in blobs]
        replies = _pipeline(connection, calls)
        missing = next(
            (i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)), None
        )
        if missing is not None:
            # From the first one on, so that the order is kept: they may be repeated.
            _command(connection, "SCRIPT", "LOAD", script.text)
            replies[missing:] = _pipeline(connection, calls[missing:])
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise reply
        return list(chain.from_iterable(replies))

    # ── the pub/sub connection ──

    def _open_line(self) -> _Line:
        connection = self._make_connection()
        try:
            connection.connect()
        except RedisError as error:
            raise self._unavailable(error) from error
        return _Line(connection, self._unavailable)


class _Line:
    """The pub/sub connection; see `cifra_jobs.store.channel.Line`."""

    def __init__(
        self, connection: Any, unavailable: Callable[[Exception], StoreUnavailable]
    ) -> None:
        self._connection = connection
        self._unavailable = unavailable
        # One thread reads and others send: a TLS connection bears only one of them at a time.
        self._lock = threading.Lock()

    def send(self, verb: str, *args: str) -> None:
        try:
            with self._lock:
                if not self._connection.is_connected:
                    raise RedisConnectionError("the connection is closed")
                self._connection.send_command(verb, *args, check_health=False)
        except RedisError as error:
            raise self._unavailable(error) from error

    def read(self, timeout_s: float) -> list[str] | None:
        try:
            if not self._connection.is_connected:
                raise RedisConnectionError("the connection is closed")
            if not self._connection.can_read(timeout_s):
                return None
            with self._lock:
                message: list[str] = self._connection.read_response()
            return message
        except RedisError as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        self._connection.disconnect()


def _blobs(encoded: list[wire.Encoded]) -> list[bytes]:
    """The operations as JSON, cut so that one script call never holds Redis up for long."""
    if len(encoded) <= MAX_OPERATIONS:
        blob = orjson.dumps(encoded)
        if len(blob) <= MAX_BLOB_BYTES or len(encoded) == 1:
            return [blob]
    half = len(encoded) // 2
    return _blobs(encoded[:half]) + _blobs(encoded[half:])


def _pipeline(connection: Any, commands: list[tuple[Any, ...]]) -> list[Any]:
    """Send all, then read all; an error reply stands in its place."""
    connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(connection.read_response(disconnect_on_error=False))
        except ResponseError as error:
            replies.append(error)
    return replies


def _command(connection: Any, *words: str) -> Any:
    connection.send_command(*words, check_health=False)
    return connection.read_response(disconnect_on_error=False)


def _said(error: Exception) -> str:
    """What Redis said, with the code that redis-py keeps apart."""
    code = getattr(error, "status_code", None)
    return f"{code} {error}" if code else str(error) or type(error).__name__


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
