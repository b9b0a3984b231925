"""A task that says how far it is, and a sender that hears of it."""

import asyncio

from cifra_jobs import configure, current_app, current_task, task
from cifra_jobs.runtime.worker import Worker


@task
async def render(pages: int) -> str:
    await current_task.update_state("RENDERING")
    for page in range(1, pages + 1):
        await asyncio.sleep(0.2)
        await current_task.update_progress(100 * page / pages, f"page {page} of {pages}")
    return "report.pdf"


async def main() -> None:
    handle = await render.delay(4)
    async for status in handle.follow():  # pushed, not polled
        if status.progress:
            print(f"{status.status}: {status.progress:.0f} %, {status.message}, {status.stage}")
    print(await handle.get())


if __name__ == "__main__":
    configure(broker={"type": "memory"}, result_backend={"type": "memory"})
    worker = Worker(current_app())
    worker.start()
    asyncio.run(main())
    worker.stop()
