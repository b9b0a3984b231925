"""Runs the test tiers on other versions of Python and RabbitMQ than the ones at hand.

``--python`` names an interpreter: the unit tier runs in an environment of its own, made from the
same lock. ``--root`` names a root directory with another RabbitMQ in it (made by debootstrap, with
``/proc`` mounted): the tiers that need servers run against a private node started in it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from cifra_jobs.dev import PrivateRabbitmq

SERVER_TIERS = ["tests/conformance", "tests/integration"]


def on_python(interpreter: str) -> int:
    """Run the unit tier on another Python.

    Args:
        interpreter: its name or path.

    Returns:
        The exit code of the failing step, or 0.
    """
    folder = Path(".venv-matrix") / Path(interpreter).name
    made = subprocess.call([interpreter, "tools/bootstrap.py", str(folder), "requirements.lock"])
    return made or subprocess.call([str(folder / "bin" / "python"), "-m", "pytest", "tests/unit"])


def on_rabbitmq(root: Path) -> int:
    """Run the tiers that need servers on another RabbitMQ.

    Args:
        root: the root directory that it is installed in.

    Returns:
        The exit code of pytest.
    """
    with PrivateRabbitmq(version_root=root) as server:
        print(f"RabbitMQ {server.version} from {root}", flush=True)
        environment = {
            **os.environ,
            "RABBITMQ_URL": server.url,
            "RABBITMQ_MANAGEMENT_URL": server.management_url,
        }
        return subprocess.call([sys.executable, "-m", "pytest", *SERVER_TIERS], env=environment)


def main(arguments: list[str]) -> int:
    """Run what was asked for; go on after a failure.

    Args:
        arguments: those of the command line.

    Returns:
        0 when all passed, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", default=[], metavar="INTERPRETER")
    parser.add_argument("--root", action="append", default=[], type=Path, metavar="FOLDER")
    asked = parser.parse_args(arguments)
    if not (asked.python or asked.root):
        parser.error("name at least one --python or --root")
    codes = {str(name): on_python(name) for name in asked.python}
    codes |= {str(root): on_rabbitmq(root) for root in asked.root}
    for name, code in codes.items():
        print(f"{'passed' if code == 0 else 'FAILED'}  {name}")
    return int(any(codes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
