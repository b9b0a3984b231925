"""A broker and a store that fail where a test says so, around real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifra_jobs.brokers.base import Consumer
from cifra_jobs.errors import BrokerUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cifra_jobs.brokers.base import Delivery, Publication
    from cifra_jobs.store.base import Operation, Reply

__all__ = ["FaultyStore", "FaultyTransport"]


class FaultyTransport:
    """A transport that loses publishes or their confirms, and notes the order of things.

    Attributes:
        trace: shared with a `FaultyStore`: ``("publish", name)``, ``("confirm", name)``,
            ``("ack", id)``.
        lost: of the next publishes that ``is_hit`` chooses, so many are never sent.
        unconfirmed: so many are sent, and reported as not confirmed.
        is_dead: nothing goes out any more, and nobody is told.
    """

    def __init__(self, inner: Any, trace: list[tuple[str, str]]) -> None:
        self.inner = inner
        self.trace = trace
        self.lost = 0
        self.unconfirmed = 0
        self.is_hit: Callable[[Publication], bool] = lambda _: True
        self.before: Callable[[str, str], None] = lambda *_: None
        self.is_dead = False
        self.consumers: list[_Consumer] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def publish(
        self,
        publications: Sequence[Publication],
        done: Callable[[list[Any]], None],
        *,
        timeout_s: float,
    ) -> None:
        names = [each.type_name or "" for each in publications]
        self._tell("publish", names)
        if self.is_dead:
            return
        is_chosen = any(map(self.is_hit, publications))
        if is_chosen and self.lost > 0:
            self.lost -= 1
            done([BrokerUnavailable("lost by the test") for _ in publications])
            return
        is_hidden = is_chosen and self.unconfirmed > 0
        self.unconfirmed -= is_hidden

        def on_done(errors: list[Any]) -> None:
            self._tell("confirm", names)
            if self.is_dead:
                return
            if is_hidden:
                errors = [BrokerUnavailable("its confirm was lost by the test") for _ in errors]
            done(errors)

        self.inner.publish(publications, on_done, timeout_s=timeout_s)

    def consume(self, queues: Any, on_deliveries: Any, on_lost: Any = None) -> _Consumer:
        made = _Consumer(self.inner.consume(queues, on_deliveries, on_lost), self)
        self.consumers.append(made)
        return made

    def die(self) -> None:
        """As if the process had died: deliveries go back, nothing is sent."""
        self.is_dead = True
        for consumer in self.consumers:
            consumer.inner.close(0)

    def _tell(self, what: str, names: list[str]) -> None:
        for name in names:
            self.trace.append((what, name))
            self.before(what, name)


class _Consumer:
    """Notes the acks."""

    def __init__(self, inner: Consumer, owner: FaultyTransport) -> None:
        self.inner = inner
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        several = list(deliveries)
        self._owner._tell("ack", [each.message_id or "" for each in several])  # noqa: SLF001
        if not self._owner.is_dead:
            self.inner.ack(several)


class FaultyStore:
    """A store that is away when told, or for certain operations.

    Attributes:
        is_away: every question fails.
        is_deaf: what others say is not heard.
        failures: so many commits with an operation that ``is_hit`` chooses fail.
    """

    def __init__(self, inner: Any, trace: list[tuple[str, str]]) -> None:
        self.inner = inner
        self.trace = trace
        self.is_away = False
        self.is_deaf = False
        self.failures = 0
        self.is_hit: Callable[[Operation], bool] = lambda _: True
        self.before: Callable[[str, str], None] = lambda *_: None
        self._on_reconnect: list[Callable[[], None]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def commit(self, operations: Sequence[Operation]) -> list[Reply]:
        for operation in operations:
            entry = (type(operation).__name__, getattr(operation, "task_name", ""))
            self.trace.append(entry)
            self.before(*entry)
        if self.is_away:
            raise StoreUnavailable("away, says the test")
        if self.failures > 0 and any(map(self.is_hit, operations)):
            self.failures -= 1
            raise StoreUnavailable("failed by the test")
        replies: list[Reply] = self.inner.commit(operations)
        return replies

    def publish(self, channel: str, payload: str) -> None:
        if self.is_away:
            raise StoreUnavailable("away, says the test")
        self.inner.publish(channel, payload)

    def subscribe(self, channel: str, on_message: Any, on_reconnect: Any = None) -> Any:
        if on_reconnect is not None:
            self._on_reconnect.append(on_reconnect)

        def hear(payload: str) -> None:
            if not self.is_away and not self.is_deaf:
                on_message(payload)

        return self.inner.subscribe(channel, hear, on_reconnect)

    def come_back(self) -> None:
        """Be there again; subscriptions are in force again."""
        self.is_away = self.is_deaf = False
        for call in self._on_reconnect:
            call()
