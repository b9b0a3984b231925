"""A failure that passes, one that does not, and one that the task ends itself."""

from cifra_jobs import TaskFailed, TaskRetry, configure, current_app, current_task, task
from cifra_jobs.runtime.worker import Worker


@task(retry=3, retry_delay=0.1)
def flaky() -> str:
    run = current_task.request.retries + 1
    print(f"flaky: run {run}")
    if run < 3:
        raise ConnectionError("the line is down")
    return f"done in run {run}"


@task(retry=1, retry_delay=0.1)
def hopeless() -> None:
    print("hopeless: run")
    raise ValueError("it never works")


@task(retry=3)
def picky(address: str) -> None:
    print("picky: run")
    if "@" not in address:
        raise TaskFailed(f"{address!r} is no address", retry=False)  # no other run would help
    raise TaskRetry(delay=60)  # later, on purpose; uses one of the three


if __name__ == "__main__":
    configure(broker={"type": "memory"}, result_backend={"type": "memory"})
    app = current_app()
    worker = Worker(app)
    worker.start()
    print(flaky.delay().result(timeout=5))
    for call in (hopeless.s(), picky.s("nowhere")):
        error = call.delay().result(timeout=5, propagate=False)
        print(f"{type(error).__name__}: {error}")
    print(f"{app.transport.counts('default').dead} dead letters")
    worker.stop()
