"""The main job, as ``make run`` starts it, on a smaller data set."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from email import message_from_bytes
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
CONTACTS = 200


def start(out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "workers.demo", "--contacts", str(CONTACTS)]
    return subprocess.Popen(
        [*command, "--out", str(out), *options],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def figures(output: str, task: str) -> list[int]:
    """Sent, succeeded, failed as expected, failed and retries of a task, from the summary."""
    (line,) = re.findall(rf"^│ {task} +│(.*)│$", output, re.MULTILINE)
    cells = [cell.strip().replace(",", "") for cell in line.split("│")]
    return [int(cell) for cell in cells[:5]]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("options", [(), ("--memory",)], ids=["servers", "memory"])
def test_the_main_job_ends_with_its_summary_and_its_files(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    process = start(tmp_path, *options)
    output, _ = process.communicate()

    assert process.returncode == 0, output
    assert "Everything has ended as it should." in output
    sent, succeeded, expected, failed, retries = figures(output, "send_email")
    assert sent == succeeded + expected
    assert expected > 0
    assert failed == 0
    assert retries > 0
    assert figures(output, "import_contacts") == [7, 6, 1, 0, 0]
    assert figures(output, "generate_monthly_report") == [12, 12, 0, 0, 0]
    mails = [message_from_bytes(path.read_bytes()) for path in (tmp_path / "mails").glob("*.eml")]
    assert len({mail["Message-ID"] for mail in mails}) == succeeded
    assert (tmp_path / "files" / "reports" / "2025-12.pdf").read_bytes().startswith(b"%PDF")
    assert list((tmp_path / "files" / "thumbnails").glob("*.jpg"))
    with sqlite3.connect(tmp_path / "cifra.db") as database:
        assert database.execute("SELECT count(*) FROM contacts").fetchone() == (CONTACTS,)
    database.close()


@pytest.mark.timeout(120)
def test_an_interrupted_main_job_leaves_no_process_behind(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if "Starting the workers" in line:
            break
    children = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()

    assert process.returncode == 130, output
    assert "Interrupted" in output
    assert children
    assert not [pid for pid in children if is_running(pid)]


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = {int(child) for child in children}
    return found.union(*(descendants(child) for child in found))


def is_running(pid: int) -> bool:
    """Whether there is such a process, apart from a dead one that nobody has asked about."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
