"""Runs Dramatiq's own tests on our broker and worker.

The test files come out of the source distribution of the locked version, fetched when the check
runs and kept under ``var/``; nothing of them is in this repository. The fixtures that they ask for
are ours: ``tests/peer/``. Tests that cannot pass are in ``tests/peer/left_out.txt``, a reason
each; they are run all the same, and one that passes fails the check, as does one that is gone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "var" / "peer-suite"
OURS = ROOT / "tests" / "peer"

#: The tests that say something about brokers, actors and workers.
FILES = [
    "test_actors.py",
    "test_callbacks.py",
    "test_composition.py",
    "test_generic_actors.py",
    "test_messages.py",
    "test_rabbitmq.py",
    "test_results.py",
    "test_worker.py",
]


class Verdict(NamedTuple):
    """What the run says beside the list.

    Attributes:
        passed: how many passed and are not listed.
        listed: how many did not pass, and are listed.
        problems: one sentence each; none is good.
    """

    passed: int
    listed: int
    problems: list[str]


def locked_requirement(lock: str) -> tuple[str, str]:
    """Version and requirement (with hashes) of dramatiq.

    Args:
        lock: the text of requirements.lock.

    Raises:
        ValueError: dramatiq is not in it.
    """
    found = re.search(r"^dramatiq==(\S+) \\\n(?:    --hash=\S+(?: \\)?\n)+", lock, re.MULTILINE)
    if found is None:
        raise ValueError("requirements.lock does not name dramatiq with its hashes")
    return found[1], found[0]


def fetch(version: str, requirement: str) -> Path:
    """The source distribution, from the package index or from the last run.

    Args:
        version: of dramatiq.
        requirement: as in the lock.
    """
    archive = CACHE / f"dramatiq-{version}.tar.gz"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        pinned = CACHE / "requirement.txt"
        pinned.write_text(requirement)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        what = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
        subprocess.run([*pip, *what, "-r", str(pinned), "-d", str(CACHE)], check=True)
    return archive


def lay_out(archive: Path, version: str) -> Path:
    """A package of their tests and our fixtures.

    Args:
        archive: the source distribution.
        version: of dramatiq.
    """
    package = CACHE / version / "dramatiq_tests"
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    with tarfile.open(archive) as source:
        for name in FILES:
            member = source.extractfile(f"dramatiq-{version}/tests/{name}")
            if member is None:
                raise FileNotFoundError(f"{name} is not in {archive.name}")
            (package / name).write_bytes(member.read())
    for ours in OURS.glob("*.py"):
        # It is called otherwise at home, where pytest would load it for our own tests.
        shutil.copy(ours, package / ("conftest.py" if ours.stem == "fixtures" else ours.name))
    (package / "__init__.py").touch()
    shutil.copy(OURS / "pytest.ini", package.parent)
    return package


def run(package: Path, arguments: list[str]) -> dict[str, str]:
    """Run pytest; node id → passed, failed or skipped.

    Args:
        package: from `lay_out`.
        arguments: more for pytest.
    """
    report = package.parent / "report.xml"
    report.unlink(missing_ok=True)
    pytest = [sys.executable, "-m", "pytest", "-c", str(package.parent / "pytest.ini")]
    options = ["--rootdir", str(package.parent), f"--junitxml={report}", "--tb=short", "-q"]
    subprocess.run([*pytest, *options, str(package), *arguments], cwd=ROOT, check=False)
    outcomes = {}
    # The report was written a moment ago by our own child.
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314
        file = case.get("classname", "").rpartition(".")[2]
        tags = {child.tag for child in case}
        failed = tags & {"failure", "error"}
        outcome = "failed" if failed else "skipped" if "skipped" in tags else "passed"
        outcomes[f"{file}.py::{case.get('name')}"] = outcome
    return outcomes


def read_list(text: str) -> dict[str, str]:
    """Node id → reason.

    Args:
        text: lines of ``id  # reason``; empty lines and lines of comment between them.

    Raises:
        ValueError: a line gives no reason.
    """
    listed = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            node, _, reason = line.partition("  # ")
            if not reason.strip():
                raise ValueError(f"left_out.txt gives no reason for {node.strip()}")
            listed[node.strip()] = reason.strip()
    return listed


def judge(outcomes: dict[str, str], listed: dict[str, str]) -> Verdict:
    """Compare what happened with what was expected.

    Args:
        outcomes: from `run`.
        listed: from `read_list`.
    """
    passed = {node for node, outcome in outcomes.items() if outcome == "passed"}
    problems = [
        f"{node} passed: take it off the list ({listed[node]})"
        for node in sorted(passed & listed.keys())
    ]
    problems += [
        f"{node} {outcomes[node]} and is not listed"
        for node in sorted(outcomes.keys() - passed - listed.keys())
    ]
    problems += [
        f"{node} is listed and does not exist" for node in sorted(listed.keys() - outcomes.keys())
    ]
    return Verdict(
        len(passed - listed.keys()), len((outcomes.keys() - passed) & listed.keys()), problems
    )


def main(arguments: list[str]) -> int:
    """Run the suite and judge it.

    Args:
        arguments: handed to pytest, for a closer look at some tests; then nothing is judged.

    Returns:
        0 if all that is collected passed or is listed.
    """
    version, requirement = locked_requirement((ROOT / "requirements.lock").read_text())
    package = lay_out(fetch(version, requirement), version)
    outcomes = run(package, arguments)
    if arguments:
        return 0
    verdict = judge(outcomes, read_list((OURS / "left_out.txt").read_text()))
    print(
        f"\ndramatiq {version}: {len(outcomes)} collected, {verdict.passed} passed, "
        f"{verdict.listed} listed in tests/peer/left_out.txt"
    )
    for problem in verdict.problems:
        print(f"  {problem}")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
