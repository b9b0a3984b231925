"""The web server as a process beside the workers."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cifra_jobs.web.server import bind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cifra_jobs.config import Settings

__all__ = ["web_beside"]

#: Seconds that it gets to end.
_PATIENCE_S = 5.0


@contextmanager
def web_beside(settings: Settings, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Serve ``cifra flower start`` in a child process; gives the port.

    Args:
        settings: where to listen.
        environment: variables of its own.

    Raises:
        ConfigError: the port is taken; the holder is named.
    """
    flower = settings.monitoring.flower
    # Bound here, so that a taken port stops the start and not only the child.
    with bind(flower.host, flower.port) as listener:
        port: int = listener.getsockname()[1]
        file = settings.source_file
        command = [sys.executable, "-m", "cifra_jobs"]
        command += ["--config", str(file.resolve())] if file is not None else []
        command += ["flower", "start", "--fd", str(listener.fileno()), "--parent", str(os.getpid())]
        child = subprocess.Popen(
            command,
            env=os.environ | dict(environment or {}),
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            # Ctrl-C is for the workers; this one ends after them.
            start_new_session=True,
        )
    try:
        yield port
    finally:
        child.terminate()
        try:
            child.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
