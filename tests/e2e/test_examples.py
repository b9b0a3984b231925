"""Every example does what its README says."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from cifra_jobs.testing import eventually

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = sorted(path for path in EXAMPLES.iterdir() if (path / "app.py").exists())
#: Those that print what their README shows, and end.
SPEAKING = [
    path for path in FOLDERS if "What you should see:\n" in (path / "README.md").read_text()
]


def environment(**more: str) -> dict[str, str]:
    """Ours without what would send an example to somebody's servers."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("CIFRA_", "RABBIT", "REDIS"))}
    return {**ours, **more}


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected(readme: Path) -> re.Pattern[str]:
    """What a README shows; an ellipsis is whatever comes there."""
    found = re.search(r"```text\n(.*?)```", readme.read_text(), re.DOTALL)
    assert found is not None, f"{readme} shows nothing"
    shown = ".*".join(re.escape(part) for part in found[1].split("…"))
    return re.compile(shown, re.DOTALL)


@pytest.mark.parametrize("folder", SPEAKING, ids=lambda path: path.name)
def test_an_example_prints_what_its_readme_shows(folder: Path) -> None:
    printed = run(folder, "app.py")
    assert expected(folder / "README.md").fullmatch(printed), printed


def test_the_tests_of_the_testing_example_pass() -> None:
    printed = run(EXAMPLES / "testing", "-m", "pytest", "-q", "-c", os.devnull, "--rootdir=.")
    assert "3 passed" in printed


def test_the_status_page_follows_an_export() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    child = subprocess.Popen(
        [sys.executable, "app.py"],
        cwd=EXAMPLES / "status_page",
        env=environment(PORT=str(port)),
    )

    def answers() -> bool:
        try:
            return bool(urlopen(f"{base}/healthz", timeout=5).status == 200)  # noqa: S310
        except URLError:
            return False

    try:
        eventually(answers, timeout=20)
        sent = urlopen(Request(f"{base}/exports/3", method="POST"), timeout=5).read()  # noqa: S310
        found = re.search(rb'"id":"([^"]+)"', sent)
        assert found is not None, sent
        task_id = found[1].decode()
        stream = urlopen(f"{base}/api/tasks/{task_id}/events", timeout=20).read()  # noqa: S310
        assert b'"result":"export.csv"' in stream
    finally:
        child.terminate()
        child.wait(10)


def test_every_example_has_a_short_readme() -> None:
    long = [
        path.name for path in FOLDERS if len((path / "README.md").read_text().splitlines()) > 20
    ]
    assert not long
