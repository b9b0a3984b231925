"""Tasks that follow from the outcome of another."""

from cifra_jobs import configure, current_app, task
from cifra_jobs.runtime.worker import Worker
from cifra_jobs.testing import eventually

seen: list[str] = []


@task
def paid(_task_id: str, result: int) -> None:
    seen.append(f"paid: {result}")


@task
def not_paid(_task_id: str, exception: str, _traceback: str) -> None:
    seen.append(f"not paid: {exception}")


@task(retry=0, on_success=paid, on_failure=not_paid)
def charge(amount: int) -> int:
    if amount > 100:
        raise ValueError("over the limit")
    return amount


@task
def thank(result: int) -> None:
    seen.append(f"thank you for {result}")


if __name__ == "__main__":
    configure(broker={"type": "memory"}, result_backend={"type": "memory"})
    worker = Worker(current_app())
    worker.start()
    charge.delay(500)
    charge.apply_async((20,), link=thank.s())  # for this call only: gets the result
    eventually(lambda: len(seen) == 3)
    print(*sorted(seen), sep="\n")
    worker.stop()
