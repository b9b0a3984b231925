"""A private Redis."""

from __future__ import annotations

import shutil
from typing import ClassVar
from urllib.parse import quote

from cifra_jobs.dev.probes import redis_version
from cifra_jobs.dev.server import PrivateServer
from cifra_jobs.errors import ServerUnavailable

__all__ = ["PrivateRedis", "redis_program"]


def redis_program() -> str | None:
    """The path of the installed Redis (or Valkey) server; ``None`` where there is none."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


class PrivateRedis(PrivateServer):
    """Redis as a production deployment sets it: append-only file each second, no eviction.

    Args:
        config: settings of ``redis.conf`` that win over these defaults.
        startup_timeout: seconds until a start is given up.

    Raises:
        ServerUnavailable: no Redis is installed.
    """

    name: ClassVar[str] = "Redis"

    def __init__(
        self, *, config: dict[str, str] | None = None, startup_timeout: float = 30.0
    ) -> None:
        program = redis_program()
        if program is None:
            raise ServerUnavailable("No redis-server is installed: install it, or set REDIS_URL.")
        super().__init__(startup_timeout=startup_timeout)
        self._program = program
        self._config = {
            "bind": self.host,
            "port": str(self.port),
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            # Snapshots would only add forks: the append-only file holds everything.
            "save": '""',
            **(config or {}),
        }

    @property
    def url(self) -> str:
        """Where clients connect: database 0, with the password of ``requirepass`` where set."""
        password = self._config.get("requirepass", "")
        login = f":{quote(password, safe='')}@" if password else ""
        return f"redis://{login}{self.host}:{self.port}/0"

    def _command(self) -> list[str]:
        return [self._program, str(self.directory / "redis.conf")]

    def _prepare(self) -> None:
        lines = [f"{key} {value}\n" for key, value in self._config.items()]
        (self.directory / "redis.conf").write_text("".join(lines))

    def _probe(self) -> str:
        return redis_version(self.host, self.port, password=self._config.get("requirepass", ""))
