"""Signs of life of a worker, and the news of its death, for the store.

A record of a worker lives a few times longer than the beat; when it lapses the worker's claims are
free. Whoever sees a worker end says so (`Gone`), which frees them at once.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dramatiq

import cifra_jobs
from cifra_jobs.backoff import reconnect_delays
from cifra_jobs.clock import now_ms
from cifra_jobs.errors import StoreUnavailable
from cifra_jobs.log import get_logger
from cifra_jobs.service import LoopService, Service
from cifra_jobs.store.base import Beat, Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cifra_jobs.store.base import Operation, StateStore

__all__ = ["Heartbeat", "Obituaries", "resident_bytes"]

_log = get_logger("cifra.heartbeat")

#: Attempts named in one beat; a loop may run thousands, and a beat is read as a whole.
_RUNNING_SHOWN = 50
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Heartbeat(LoopService):
    """Tells the store every few seconds that a worker lives, and at the end that it is gone.

    Args:
        worker_id: the id under which the worker claims tasks.
        commit: hands an operation to the group commit; must not wait for the store.
        about: facts that never change: name, queues, slots.
        running: the attempts being run right now.
        period_s: seconds between two beats.
        ttl_s: seconds of silence after which the worker counts as dead.
    """

    def __init__(
        self,
        worker_id: str,
        commit: Callable[[Operation], object],
        *,
        about: dict[str, Any],
        running: Callable[[], Sequence[dict[str, Any]]],
        period_s: float,
        ttl_s: float,
    ) -> None:
        super().__init__("cifra-heartbeat", period_s, last=self._say_goodbye)
        self._worker_id = worker_id
        self._commit = commit
        self._running = running
        self._ttl_ms = int(ttl_s * 1000)
        self._about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": now_ms(),
            "versions": {
                "cifra_jobs": cifra_jobs.__version__,
                "dramatiq": dramatiq.__version__,
                "python": platform.python_version(),
            },
        } | about

    def tick(self) -> None:
        """One beat."""
        running = self._running()
        info = self._about | {
            "running": list(running[:_RUNNING_SHOWN]),
            "running_count": len(running),
            "rss": resident_bytes(),
        }
        self._commit(Beat(self._worker_id, json.dumps(info, default=str), self._ttl_ms))

    def _say_goodbye(self) -> None:
        self._commit(Gone(self._worker_id))


class Obituaries(Service):
    """Tells the store of workers that died without a word, until it has heard or it is too late.

    Args:
        open_store: connects; called on this service's own thread at the first death.
        ttl_s: seconds after which the store knows by itself.
    """

    def __init__(self, open_store: Callable[[], StateStore], ttl_s: float) -> None:
        super().__init__("cifra-obituaries")
        self._open_store = open_store
        self._ttl_ms = int(ttl_s * 1000)
        self._store: StateStore | None = None
        self._dead: deque[tuple[str, int]] = deque()
        self._news = threading.Event()

    def announce(self, worker_id: str) -> None:
        """Tell the store soon; never waits."""
        self._dead.append((worker_id, now_ms()))
        self._news.set()

    def wake(self) -> None:
        """Look whether there is something to do."""
        self._news.set()

    def run(self, stopping: threading.Event) -> None:
        """Wait for deaths and tell the store; a last try is made at the stop."""
        delays = reconnect_delays()
        while not stopping.is_set():
            self._news.wait()
            self._news.clear()
            while self._dead and not self._tell() and not stopping.is_set():
                if self._news.wait(next(delays)):
                    self._news.clear()
            delays = reconnect_delays()
        if self._dead and not self._tell():
            _log.warning("workers that died were not told of; their claims lapse by themselves")
        if self._store is not None:
            self._store.close()
            self._store = None

    def _tell(self) -> bool:
        heard = list(self._dead)
        fresh = [each for each in heard if now_ms() - each[1] < self._ttl_ms]
        try:
            if fresh:
                self._store = self._store or self._open_store()
                self._store.commit([Gone(worker_id) for worker_id, _ in fresh])
        except StoreUnavailable as error:
            _log.warning("the store cannot be told of a dead worker yet", error=str(error))
            return False
        except Exception:  # noqa: BLE001 - the next death must find this thread alive
            _log.exception("the store cannot be told of dead workers")
        for _ in heard:
            self._dead.popleft()
        return True


def resident_bytes() -> int:
    """Memory of this process that is in RAM, in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
