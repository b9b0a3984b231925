"""Dramatiq's own tests are judged against the list of those left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Tool = Callable[[str], ModuleType]


@pytest.fixture
def peer(tool: Tool) -> ModuleType:
    return tool("peer_suite")


def test_all_passed_or_listed_is_good(peer: ModuleType) -> None:
    verdict = peer.judge({"a": "passed", "b": "failed", "c": "skipped"}, {"b": "x", "c": "y"})
    assert (verdict.passed, verdict.listed, verdict.problems) == (1, 2, [])


@pytest.mark.parametrize(
    ("outcomes", "listed", "words"),
    [
        ({"a": "failed"}, {}, "a failed and is not listed"),
        ({"a": "skipped"}, {}, "a skipped and is not listed"),
        ({"a": "passed"}, {"a": "private"}, "take it off the list (private)"),
        ({}, {"a": "private"}, "a is listed and does not exist"),
    ],
)
def test_a_difference_from_the_list_is_a_problem(
    peer: ModuleType, outcomes: dict[str, str], listed: dict[str, str], words: str
) -> None:
    (problem,) = peer.judge(outcomes, listed).problems
    assert words in problem


def test_the_list_wants_a_reason_for_each(peer: ModuleType) -> None:
    text = "# comment\n\ntest_a.py::b[x]  # tests a private part\n"
    assert peer.read_list(text) == {"test_a.py::b[x]": "tests a private part"}
    with pytest.raises(ValueError, match="no reason"):
        peer.read_list("test_a.py::b\n")


def test_our_own_list_reads(peer: ModuleType) -> None:
    peer.read_list((peer.OURS / "left_out.txt").read_text())


def test_the_locked_version_comes_with_its_hashes(peer: ModuleType) -> None:
    lock = Path(peer.ROOT / "requirements.lock").read_text()
    version, requirement = peer.locked_requirement(lock)
    assert requirement.startswith(f"dramatiq=={version} ")
    assert requirement.count("--hash=sha256:") >= 1
    with pytest.raises(ValueError, match="dramatiq"):
        peer.locked_requirement("redis==1 \\\n    --hash=sha256:00\n")
