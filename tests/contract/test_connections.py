"""How many connections a process holds, whatever it does with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from cifra_jobs import task
from cifra_jobs.testing.proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cifra_jobs.dev.discovery import FoundServer
    from tests.contract.kit import Make, TestApp, Workers

QUEUES = 11


@pytest.fixture
def make(rabbitmq: FoundServer, redis_server: FoundServer) -> Iterator[Make]:
    """Servers behind proxies that count; memory has no connections."""
    from tests.contract.kit import Make, delete_queues

    amqp, redis = urlsplit(rabbitmq.url), urlsplit(redis_server.url)
    with (
        TcpProxy(amqp.hostname or "127.0.0.1", amqp.port or 5672) as to_rabbitmq,
        TcpProxy(redis.hostname or "127.0.0.1", redis.port or 6379) as to_redis,
    ):
        made = Make(
            "rabbitmq",
            {"url": rabbitmq.url.replace(f"{amqp.port}", f"{to_rabbitmq.port}")},
            {"url": redis_server.url.replace(f"{redis.port}", f"{to_redis.port}")},
        )
        made.proxies = (to_rabbitmq, to_redis)
        yield made
    delete_queues(rabbitmq.url, made.queues)


async def test_a_process_of_eleven_queues_and_eight_threads_holds_four_connections(
    make: Make, make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    app = make_app()
    queues = [app.queue, *(make.new_queue() for _ in range(QUEUES - 1))]

    @task
    async def child(x: int) -> int:
        return x

    @task
    def plain(x: int) -> int:
        return x

    @task
    async def parent(x: int) -> int:
        return await child.apply(x)

    to_rabbitmq, to_redis = make.proxies
    new_workers(app)(queues=queues, concurrency=8)
    handles = [
        await kind.apply_async((number,), queue=queue)
        for queue in queues
        for number, kind in enumerate((plain, parent, child))
    ]
    results = await asyncio.gather(*(handle.get(10) for handle in handles))
    assert results == [0, 1, 2] * QUEUES
    # Publishing and consuming; commands and news.
    assert to_rabbitmq.connection_count <= 3
    assert to_redis.connection_count <= 2


async def test_a_sender_holds_one_connection_to_each_server_and_one_for_news(
    make: Make, make_app: Callable[..., TestApp]
) -> None:
    app = make_app()

    @task
    def work() -> None: ...

    to_rabbitmq, to_redis = make.proxies
    assert (to_rabbitmq.connection_count, to_redis.connection_count) == (0, 0)
    handles = await asyncio.gather(*(work.delay() for _ in range(50)))
    for handle in handles:
        app.final_record(handle)
    await handles[0].status()
    assert to_rabbitmq.connection_count == 1
    assert to_redis.connection_count <= 2
