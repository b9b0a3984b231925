"""Two tasks, a worker, three ways to get a result."""

import asyncio

from cifra_jobs import configure, current_app, send_many, task
from cifra_jobs.runtime.worker import Worker


@task
def add(x: int, y: int) -> int:
    return x + y


@task
async def greet(name: str) -> str:
    await asyncio.sleep(0.01)
    return f"hello {name}"


async def main() -> None:
    handle = await greet.delay("Ann")  # returns once the broker has confirmed
    print(await handle.get(timeout=5))
    print(await greet.apply("Bob"))  # send, wait, result


if __name__ == "__main__":
    # One process, no servers.
    configure(broker={"type": "memory"}, result_backend={"type": "memory"})
    worker = Worker(current_app())
    worker.start()
    asyncio.run(main())
    print(add.delay(1, 2).result(timeout=5))  # plain code blocks
    handles = send_many(add.s(i, i) for i in range(1000))
    print(sum(handle.result(timeout=5) for handle in handles))
    worker.stop()
