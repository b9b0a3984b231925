"""Installs Debian packages where that is possible, without starting what they bring."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["AptInstaller"]

#: Asked by Debian's packages before they start a service; 101 means "not allowed".
_POLICY = Path("/usr/sbin/policy-rc.d")
_UPDATE_TIMEOUT_S = 120
_INSTALL_TIMEOUT_S = 900
#: One try with a short patience: a machine without a network is told so in seconds.
_PATIENCE = [
    "-o", "Acquire::Retries=0",
    "-o", "Acquire::http::Timeout=10",
    "-o", "Acquire::https::Timeout=10",
    "-o", "DPkg::Lock::Timeout=120",
]  # fmt: skip


class AptInstaller:
    """Installs packages as root, updating the package lists once.

    Args:
        announce: gets a line of progress before each long step.
    """

    def __init__(self, announce: Callable[[str], None]) -> None:
        self._announce = announce
        self._is_updated = False

    @staticmethod
    def is_possible() -> bool:
        """Whether this process is root on a system with ``apt-get``."""
        return os.geteuid() == 0 and shutil.which("apt-get") is not None

    def install(self, package: str) -> str | None:
        """Install a package and what it needs; its service is not started.

        Args:
            package: its name.

        Returns:
            ``None`` when it is installed, else why not, for people.
        """
        if not self._is_updated:
            self._announce("Updating the package lists (apt-get update) …")
            # Its failure is not final: one dead source out of many, or lists that are there.
            self._run(["update"], _UPDATE_TIMEOUT_S)
            self._is_updated = True
        self._announce(f"Installing {package} (apt-get install) …")
        with _services_held_back():
            return self._run(
                ["install", "-y", "--no-install-recommends", package], _INSTALL_TIMEOUT_S
            )

    @staticmethod
    def _run(arguments: list[str], timeout: float) -> str | None:
        command = ["apt-get", "-q", *_PATIENCE, *arguments]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        try:
            done = subprocess.run(
                command,
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"apt-get {arguments[0]} did not end within {timeout:g} s"
        if done.returncode == 0:
            return None
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        return said[-1] if said else f"apt-get {arguments[0]} ended with {done.returncode}"


@contextmanager
def _services_held_back() -> Iterator[None]:
    """Forbid packages to start services, where the system has no policy of its own."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
