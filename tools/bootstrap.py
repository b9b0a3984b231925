"""Makes the virtual environment from the lock file. Needs nothing but Python.

``python3 tools/bootstrap.py .venv requirements.lock`` installs what the lock names, with hashes,
and the project itself editable. Packages that the interpreter already has in the locked version are
used as they are, so a machine without a network that was prepared beforehand is enough; it may even
lack what only the checks need, or have other versions.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
NEWER = ("python3.11", "python3.12", "python3.13", "python3.14")


def main(arguments: list) -> int:  # type: ignore[type-arg]  # an old Python must get to our sentence
    """Make or refresh the environment.

    Args:
        arguments: the environment's folder, then the lock file.

    Returns:
        The exit code.
    """
    if sys.version_info < OLDEST:
        return run_with_newer(arguments)
    environment, lock = Path(arguments[0]), Path(arguments[1])
    python = environment / "bin" / "python"
    if not works(python) and not create(environment):
        return 1
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    steps = (
        ("Installing what requirements.lock names …", ["--require-hashes", "-r", str(lock)]),
        ("Installing the project …", ["--no-deps", "--no-build-isolation", "--editable", "."]),
    )
    for step, options in steps:
        say(step)
        code = subprocess.call([*pip, *options])
        if code and runs_main_job(python):
            say("pip failed (see above). Going on: what is here is enough for `make run`.")
            return 0
        if code:
            say("pip failed (see above): it needs a package index, or the packages beforehand.")
            return code
    (environment / ".ready").touch()
    return 0


def create(environment: Path) -> bool:
    """Make the environment, seeing the interpreter's own packages where they are ours.

    Args:
        environment: its folder; a broken one there is replaced.

    Returns:
        Whether it is there.
    """
    say(f"Making {environment} with Python {sys.version.split()[0]} …")
    prepared = is_prepared()
    options = ["--clear", *(["--system-site-packages"] if prepared else [])]
    command = [sys.executable, "-m", "venv", *options, str(environment)]
    if subprocess.call(command, stdout=subprocess.DEVNULL) == 0:
        if prepared:
            # Before 3.12 venv adds an old setuptools, which hides the interpreter's own.
            pip = [str(environment / "bin" / "python"), "-m", "pip", "-qq"]
            subprocess.call([*pip, "uninstall", "-y", "setuptools"])
        return True
    if os.geteuid() == 0 and shutil.which("apt-get"):
        say("Python has no venv here: installing python3-venv (apt-get) …")
        subprocess.call(["apt-get", "-q", "update"], stdout=subprocess.DEVNULL)
        package = f"python3.{sys.version_info.minor}-venv"
        subprocess.call(["apt-get", "-q", "install", "-y", package], stdout=subprocess.DEVNULL)
        if subprocess.call(command) == 0:
            return True
    say("Python cannot make a virtual environment: install its venv module (python3-venv).")
    return False


def is_prepared() -> bool:
    """Whether this interpreter already has the packages that the project stands on."""
    from importlib.util import find_spec

    return all(find_spec(name) for name in ("dramatiq", "pika", "redis", "pydantic_settings"))


def runs_main_job(python: Path) -> bool:
    """Whether an environment has all that the main job needs, whatever the lock says.

    Args:
        python: its interpreter.
    """
    question = "import cifra_jobs.cli, workers.demo.__main__"
    return subprocess.call([str(python), "-c", question], stderr=subprocess.DEVNULL) == 0


def works(python: Path) -> bool:
    """Whether an environment's interpreter runs, is new enough and has pip.

    Args:
        python: the interpreter.
    """
    if not python.exists():
        return False
    question = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    return subprocess.call([str(python), "-c", question], stderr=subprocess.DEVNULL) == 0


def run_with_newer(arguments: list) -> int:  # type: ignore[type-arg]  # as main
    """Go on with a newer interpreter on PATH, or say that there is none.

    Args:
        arguments: those of `main`.

    Returns:
        The exit code.
    """
    for name in NEWER:
        if shutil.which(name):
            return subprocess.call([name, __file__, *arguments])
    say("cifra_jobs needs Python 3.11 or newer: install one, or say make PYTHON=/path/to/python3.")
    return 1


def say(text: str) -> None:
    """Print a line of progress at once.

    Args:
        text: the line.
    """
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
