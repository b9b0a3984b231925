"""The peers' own virtual environments, made on demand from pinned requirements."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parent.parent


def interpreter(peer: str) -> Path:
    """The Python of a peer's environment, which is made if its pins have changed.

    Raises:
        subprocess.CalledProcessError: If the pinned packages cannot be installed.
    """
    folder = BENCHMARKS / ".venvs" / peer
    requirements = BENCHMARKS / "requirements" / f"{peer}.txt"
    pins = requirements.read_text()
    stamp, python = folder / "installed.txt", folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != pins:
        venv.create(folder, with_pip=True, clear=True)
        install = [
            str(python),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--requirement",
            str(requirements),
        ]
        subprocess.run(install, check=True, capture_output=True, text=True)
        stamp.write_text(pins)
    return python


def own_interpreter() -> Path:
    """The Python that runs this, where Cifra Jobs is installed."""
    return Path(sys.executable)


def versions(python: Path, *distributions: str) -> dict[str, str]:
    """The installed versions of these distributions in that environment."""
    program = "import sys, importlib.metadata as m\nfor n in sys.argv[1:]: print(n, m.version(n))"
    run = subprocess.run(
        [python, "-c", program, *distributions], check=True, capture_output=True, text=True
    )
    return dict(line.split(" ", 1) for line in run.stdout.splitlines())
