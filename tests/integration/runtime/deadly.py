"""A worker process with a task that ends it in its first line."""

from __future__ import annotations

import os
import sys

from cifra_jobs import App, task
from cifra_jobs.config import Settings
from cifra_jobs.runtime.worker import Worker


def main(broker: str, redis: str, namespace: str) -> None:
    """Run one worker until it dies, or is told to stop by the end of its input."""
    settings = Settings(
        None,
        namespace=namespace,
        broker={"type": "rabbitmq", "url": broker},
        result_backend={"type": "redis", "url": redis},
    )
    app = App(settings)
    app.install()

    @task(queue="deadly")
    def deadly() -> None:
        os._exit(9)

    worker = Worker(app, queues=["deadly"], concurrency=1)
    sys.stdout.write(f"{worker.worker_id}\n")
    sys.stdout.flush()
    worker.start()
    sys.stdin.read()
    worker.stop(1)
    app.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
