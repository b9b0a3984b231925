"""Packages are installed without starting services, and a failure is said in apt's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from cifra_jobs.dev import apt

FAKE = """#!/bin/sh
echo "$@" >> {log}
test -e {policy} && {policy}; echo "policy $?" >> {log}
{then}
"""


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(apt, "_POLICY", path)
    return path


def fake_apt(monkeypatch: pytest.MonkeyPatch, folder: Path, policy: Path, then: str) -> Path:
    """Put an apt-get on PATH that writes down how it was called."""
    log = folder / "calls"
    program = folder / "apt-get"
    program.write_text(FAKE.format(log=log, policy=policy, then=then))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def test_lists_are_updated_once_and_services_are_held_back_while_installing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: Path
) -> None:
    log = fake_apt(monkeypatch, tmp_path, policy, "exit 0")
    said: list[str] = []
    installer = apt.AptInstaller(said.append)
    assert installer.install("redis-server") is None
    assert installer.install("rabbitmq-server") is None
    verbs = [line.split()[-1] for line in log.read_text().splitlines()]
    # 101 is the policy's "do not start"; while updating there is none.
    assert verbs == ["update", "1", "redis-server", "101", "rabbitmq-server", "101"]
    assert not policy.exists()
    assert len(said) == 3


def test_a_policy_of_the_system_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: Path
) -> None:
    policy.write_text("#!/bin/sh\nexit 42\n")
    policy.chmod(0o755)
    log = fake_apt(monkeypatch, tmp_path, policy, "exit 0")
    apt.AptInstaller(lambda _: None).install("redis-server")
    assert log.read_text().splitlines()[-1] == "policy 42"
    assert policy.exists()


def test_a_failure_is_said_in_the_words_of_apt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: Path
) -> None:
    then = "echo 'E: Unable to locate package' >&2; exit 100"
    fake_apt(monkeypatch, tmp_path, policy, then)
    problem = apt.AptInstaller(lambda _: None).install("redis-server")
    assert problem == "E: Unable to locate package"
    assert not policy.exists()


def test_an_apt_that_hangs_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, policy: Path
) -> None:
    fake_apt(monkeypatch, tmp_path, policy, "exec sleep 30")
    monkeypatch.setattr(apt, "_UPDATE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(apt, "_INSTALL_TIMEOUT_S", 0.2)
    problem = apt.AptInstaller(lambda _: None).install("redis-server")
    assert problem == "apt-get install did not end within 0.2 s"
