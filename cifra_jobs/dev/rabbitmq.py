"""A private RabbitMQ node, with a private Erlang port mapper."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from cifra_jobs.dev.probes import check_http, check_tcp, rabbitmq_version
from cifra_jobs.dev.server import PrivateServer
from cifra_jobs.errors import ServerUnavailable

__all__ = ["PrivateRabbitmq", "rabbitmq_scripts"]

#: Erlang's distribution, of the node and of its command-line tools, stays on this machine.
_LOOPBACK_DISTRIBUTION = "-kernel inet_dist_use_interface {127,0,0,1}"


def rabbitmq_scripts(root: Path = Path("/")) -> Path | None:
    """The folder of the node's own start scripts, as seen from inside ``root``.

    The scripts on PATH change the user and the directory; those beside the release do not.

    Args:
        root: another root directory that holds an installed RabbitMQ.

    Returns:
        The folder, or ``None`` where RabbitMQ or Erlang is not installed.
    """
    if not any((root / folder / "erl").exists() for folder in ("usr/bin", "usr/local/bin")) and (
        root != Path("/") or shutil.which("erl") is None
    ):
        return None
    places = ["usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin", "opt/rabbitmq/sbin"]
    found = sorted(script for place in places for script in root.glob(f"{place}/rabbitmq-server"))
    return Path("/") / found[-1].parent.relative_to(root) if found else None


class _PortMapper(PrivateServer):
    """epmd in the foreground, so that no orphan of a node serves everybody after it."""

    name: ClassVar[str] = "epmd"

    def __init__(self, into_root: list[str]) -> None:
        super().__init__(startup_timeout=10)
        self._into_root = into_root

    @property
    def url(self) -> str:
        return f"epmd://{self.host}:{self.port}"

    def _command(self) -> list[str]:
        return [*self._into_root, "epmd", "-address", self.host, "-port", str(self.port)]

    def _prepare(self) -> None:
        """Nothing to write: its arguments say it all."""

    def _probe(self) -> str:
        check_tcp(self.host, self.port)
        return "epmd"


class PrivateRabbitmq(PrivateServer):
    """One RabbitMQ node of its own: user and password ``guest``, virtual host ``/``.

    Args:
        version_root: a root directory with another RabbitMQ installed in it (made by debootstrap,
            with ``/proc`` mounted); started through ``chroot``, which needs root. The installed
            one by default.
        config: settings of ``rabbitmq.conf`` that are added to, or win over, ours.
        plugins: plugins to enable. With ``rabbitmq_management`` among them (the default) the HTTP
            API serves on `management_url`.
        startup_timeout: seconds until a start is given up.

    Attributes:
        node_name: its Erlang name, for ``rabbitmqctl``.

    Raises:
        ServerUnavailable: no RabbitMQ is installed there.
    """

    name: ClassVar[str] = "RabbitMQ"

    def __init__(
        self,
        version_root: Path | None = None,
        config: dict[str, str] | None = None,
        plugins: Sequence[str] = ("rabbitmq_management",),
        *,
        startup_timeout: float = 90.0,
    ) -> None:
        root = version_root or Path("/")
        scripts = rabbitmq_scripts(root)
        if scripts is None:
            raise ServerUnavailable(
                f"No RabbitMQ is installed under {root}: install rabbitmq-server, "
                "or set RABBITMQ_URL."
            )
        super().__init__(startup_timeout=startup_timeout)
        self._root = version_root
        self._scripts = scripts
        self._into_root = ["chroot", str(version_root)] if version_root else []
        self._plugins = tuple(plugins)
        self._distribution_port = self._reserve_port()
        self._ctl_port = self._reserve_port()
        self._management_port = self._reserve_port()
        self._port_mapper = _PortMapper(self._into_root)
        self.node_name = f"cifra-{self.port}@localhost"
        self._config = {
            "listeners.tcp.1": f"{self.host}:{self.port}",
            "log.console": "true",
            "log.console.level": "info",
            # A development machine with a nearly full disk still shows how things work.
            "disk_free_limit.absolute": "50MB",
            **self._management_config(),
            **(config or {}),
        }
        if version_root:
            # The node must see its data under the same path: the folder moves inside the root.
            inside = version_root / str(self.directory).lstrip("/")
            shutil.rmtree(self.directory)
            inside.mkdir(mode=0o700, parents=True)
            self._inside, self.directory = self.directory, inside
        else:
            self._inside = self.directory

    def close(self) -> None:
        """Stop the node and its port mapper, and remove their data. Harmless when repeated."""
        super().close()
        self._port_mapper.close()

    def rabbitmqctl(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run ``rabbitmqctl`` against this node.

        Args:
            arguments: for example ``"list_queues", "name"``; ``--quiet`` is added.
            timeout: seconds.

        Returns:
            What it printed.

        Raises:
            ServerUnavailable: it failed; with what it said.
        """
        tool = str(self._scripts / "rabbitmqctl")
        done = subprocess.run(
            [*self._into_root, tool, "--quiet", "--node", self.node_name, *arguments],
            env=self._environment(),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise ServerUnavailable(f"rabbitmqctl {' '.join(arguments)} failed: {said}")
        return done.stdout

    def start(self) -> None:
        """Start the node and wait until it serves AMQP, and HTTP where that is enabled.

        Raises:
            ServerUnavailable: it ended or did not serve in time; with the end of its log.
        """
        self._port_mapper.start()
        super().start()

    @property
    def management_url(self) -> str:
        """The HTTP API, with user and password.

        Raises:
            ServerUnavailable: the management plugin is not among this node's plugins.
        """
        if not self._has_management:
            raise ServerUnavailable(
                "This private RabbitMQ runs without rabbitmq_management: name it in plugins."
            )
        return f"http://guest:guest@{self.host}:{self._management_port}"

    @property
    def url(self) -> str:
        """Where clients connect: user ``guest``, virtual host ``/``."""
        return f"amqp://guest:guest@{self.host}:{self.port}/%2F"

    @property
    def _has_management(self) -> bool:
        return "rabbitmq_management" in self._plugins

    def _management_config(self) -> dict[str, str]:
        if not self._has_management:
            return {}
        return {
            "management.tcp.ip": self.host,
            "management.tcp.port": str(self._management_port),
        }

    def _command(self) -> list[str]:
        return [*self._into_root, str(self._scripts / "rabbitmq-server")]

    def _environment(self) -> dict[str, str]:
        inside = self._inside
        # Nothing of a surrounding installation's settings may leak into the private node.
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("RABBITMQ_", "ERL_", "NOTIFY_SOCKET"))
        }
        return inherited | {
            "HOME": str(inside),
            "ERL_EPMD_ADDRESS": self.host,
            "ERL_EPMD_PORT": str(self._port_mapper.port),
            "RABBITMQ_CONF_ENV_FILE": str(inside / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(inside / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(inside / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(inside / "enabled_plugins"),
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CTL_DIST_PORT_MIN": str(self._ctl_port),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(self._ctl_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _LOOPBACK_DISTRIBUTION,
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK_DISTRIBUTION,
            "RABBITMQ_MNESIA_BASE": str(inside / "data"),
            "RABBITMQ_LOG_BASE": str(inside / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(inside / "node.pid"),
            # The script becomes the node instead of standing before it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _prepare(self) -> None:
        settings = "".join(f"{key} = {value}\n" for key, value in self._config.items())
        files = {
            "rabbitmq-env.conf": "",
            "rabbitmq.conf": settings,
            "advanced.config": "[].\n",
            "enabled_plugins": f"[{','.join(self._plugins)}].\n",
        }
        for name, text in files.items():
            (self.directory / name).write_text(text)
        cookie = self.directory / ".erlang.cookie"
        if not cookie.exists():
            cookie.touch(mode=0o600)
            cookie.write_text(secrets.token_hex(20))
            cookie.chmod(0o400)

    def _probe(self) -> str:
        version = rabbitmq_version(self.host, self.port)
        if self._has_management:
            check_http(self.host, self._management_port, "/api/overview")
        return version
