"""``/healthz``, ``/readyz`` and ``/metrics`` of a running command, from memory, in a millisecond.

Nothing is asked of broker or store when a probe comes: the answer is what the processes told last.
One port serves a whole supervisor and sums its children up.
"""

from __future__ import annotations

import errno
import threading
from collections import Counter
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any

from cifra_jobs.errors import ConfigError
from cifra_jobs.runtime.ports import holder_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Probes", "metrics_text"]

_TEXT = "text/plain; charset=utf-8"
_STOP_INTERVAL_S = 0.05


class Probes:
    """A tiny HTTP server over the status of a supervisor.

    Args:
        host: address to listen on.
        ports: ports to listen on; each serves all three paths. 0 is any free one.
        status: facts about every slot, as `Supervisor.status` gives them.
        is_stopping: whether a drain is under way: alive, and not ready.
    """

    def __init__(
        self,
        host: str,
        ports: Iterable[int],
        *,
        status: Callable[[], Sequence[dict[str, Any]]],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._host = host
        self._wanted = list(dict.fromkeys(ports))
        self._status = status
        self._is_stopping = is_stopping
        self._servers: list[_Server] = []

    def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: a port is taken; the message names the holder.
        """
        try:
            for port in self._wanted:
                self._servers.append(self._listen(port))
        except ConfigError:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop listening; harmless twice."""
        for server in self._servers:
            server.shutdown()
            server.server_close()
        self._servers.clear()

    @property
    def ports(self) -> list[int]:
        """The ports being listened on."""
        return [server.server_address[1] for server in self._servers]

    def answer(self, path: str) -> tuple[HTTPStatus, str, str]:
        """Status, content type and body for a path."""
        if path == "/healthz":
            return HTTPStatus.OK, _TEXT, "ok\n"
        if path == "/readyz":
            reason = self._why_not_ready()
            if reason is None:
                return HTTPStatus.OK, _TEXT, "ready\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, f"not ready: {reason}\n"
        if path == "/metrics":
            return HTTPStatus.OK, *metrics_text(self._status())
        return HTTPStatus.NOT_FOUND, _TEXT, "there are /healthz, /readyz and /metrics\n"

    def _why_not_ready(self) -> str | None:
        if self._is_stopping():
            return "stopping"
        for slot in self._status():
            name = f"{slot['worker']}[{slot['index']}]"
            if not slot["is_up"]:
                return f"{name} is not up"
            if not slot["is_connected"]:
                return f"{name} is not connected to the broker"
        return None

    def _listen(self, port: int) -> _Server:
        try:
            server = _Server((self._host, port), _Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigError(
                    f"Port {port} for probes and metrics is taken by {holder_of(port)}: stop it, "
                    "or set probes.port or monitoring.metrics.prometheus_port to a free one."
                ) from error
            raise ConfigError(
                f"Cannot listen on {self._host}:{port} for probes and metrics: {error.strerror}. "
                "See probes.host and probes.port."
            ) from error
        server.answer = self.answer
        # It sees the order to stop once per interval, by default only every 0.5 s.
        serve = partial(server.serve_forever, poll_interval=_STOP_INTERVAL_S)
        threading.Thread(target=serve, name="cifra-probes", daemon=True).start()
        return server


def metrics_text(status: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Content type and text of the figures for Prometheus, summed over the processes of a worker.

    Args:
        status: facts about every slot, as `Supervisor.status` gives them.
    """
    # Late: a worker without a port has no use for the library's memory.
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector

    class Figures(Collector):
        def collect(self) -> list[Any]:
            up, running, rss, restarts = (Counter[str]() for _ in range(4))
            states: Counter[tuple[str, str]] = Counter()
            for slot in status:
                name = slot["worker"]
                up[name] += slot["is_up"]
                running[name] += slot["running"]
                rss[name] += slot["rss"]
                restarts[name] += slot["restarts"]
                states.update({(name, state): n for state, n in slot["counts"].items()})
            gauges = {
                "cifra_worker_processes_up": ("Worker processes that take tasks.", up),
                "cifra_tasks_running": ("Tasks being run.", running),
                "cifra_worker_resident_bytes": ("Memory of the worker processes in RAM.", rss),
            }
            families: list[Any] = []
            for key, (text, values) in gauges.items():
                gauge = GaugeMetricFamily(key, text, labels=["worker"])
                for name, value in values.items():
                    gauge.add_metric([name], value)
                families.append(gauge)
            total = CounterMetricFamily(
                "cifra_worker_restarts",
                "Worker processes started after a death.",
                labels=["worker"],
            )
            for name, value in restarts.items():
                total.add_metric([name], value)
            ended = CounterMetricFamily(
                "cifra_tasks", "Runs by the state they ended in.", labels=["worker", "state"]
            )
            for (name, state), value in states.items():
                ended.add_metric([name, state], value)
            return [*families, total, ended]

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures())
    return CONTENT_TYPE_LATEST, generate_latest(registry).decode()


class _Server(ThreadingHTTPServer):
    """Answers from a function; a slow client costs a thread of its own and nobody's time."""

    daemon_threads = True
    answer: Callable[[str], tuple[HTTPStatus, str, str]]

    def server_bind(self) -> None:
        # HTTPServer asks DNS for its own name here, which can take seconds and is never used.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of three paths."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "cifra"
    sys_version = ""
    #: Seconds until a silent client is hung up on.
    timeout = 5

    def do_GET(self) -> None:
        """Answer with a body."""
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without one."""
        self._reply(with_body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited name
        """Say nothing: a probe a second is no news."""

    def _reply(self, *, with_body: bool) -> None:
        status, kind, text = self.server.answer(self.path.partition("?")[0])
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)
