"""Plain Dramatiq actors and middleware, on our broker and worker."""

from typing import Any

import dramatiq

from cifra_jobs import configure, current_app, task
from cifra_jobs.runtime.worker import Worker
from cifra_jobs.testing import eventually

seen: list[str] = []


class Trace(dramatiq.Middleware):
    """Third-party middleware runs unchanged."""

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: dramatiq.MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        seen.append(f"{message.actor_name} {message.args}: {exception or result}")


dramatiq.get_broker().add_middleware(Trace())


@dramatiq.actor(max_retries=2, min_backoff=10)
def double(x: int) -> int:
    return 2 * x


@task
def add(x: int, y: int) -> int:
    return x + y


if __name__ == "__main__":
    configure(broker={"type": "memory"}, result_backend={"type": "memory"})
    worker = Worker(current_app())
    worker.start()
    # A Dramatiq pipeline: the result of the first is added to the arguments of the second.
    (double.message(21) | add.message_with_options(args=(1,))).run()
    eventually(lambda: len(seen) == 2)
    print(*seen, sep="\n")
    worker.stop()
