"""Servers are found in the order that costs least, and a missing one is said plainly."""

from __future__ import annotations

import pytest

from cifra_jobs.dev import PrivateRabbitmq, PrivateRedis, discovery, find_servers
from cifra_jobs.dev.children import ReservedPort
from cifra_jobs.errors import ServerUnavailable


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RABBITMQ_URL", "REDIS_URL", "RABBITMQ_MANAGEMENT_URL"):
        monkeypatch.delenv(name, raising=False)
    # No engine listens here.
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without servers, apt-get or Docker."""
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(discovery, "rabbitmq_scripts", lambda: None)


def test_a_redis_named_by_the_environment_is_used_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    said: list[str] = []
    with PrivateRedis(config={"requirepass": "s3cret"}) as given:
        given_url = given.url
        request.getfixturevalue("bare_machine")
        monkeypatch.setenv("REDIS_URL", given_url)
        with find_servers(allow_embedded=True, announce=said.append) as servers:
            assert servers.redis is not None
            assert (servers.redis.url, servers.redis.origin) == (given_url, "environment")
            assert servers.redis.version == given.version
            assert servers.environment() == {"REDIS_URL": given_url}
            assert servers.rabbitmq is None
        assert given.is_running
    assert any("embedded broker" in line for line in said)
    assert not any("s3cret" in line for line in said)


def test_a_given_server_that_does_not_answer_is_an_error_and_not_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = ReservedPort()
    monkeypatch.setenv("RABBITMQ_URL", f"amqp://me:s3cret@127.0.0.1:{port.number}/x")
    with pytest.raises(
        ServerUnavailable, match=rf"RABBITMQ_URL .* 127.0.0.1:{port.number}"
    ) as info:
        find_servers(allow_embedded=True, announce=lambda _: None)
    assert "s3cret" not in str(info.value)
    port.release()


def test_a_bare_machine_gets_the_embedded_default_and_is_told(bare_machine: None) -> None:
    said: list[str] = []
    with find_servers(allow_embedded=True, announce=said.append) as servers:
        assert servers.rabbitmq is None
        assert servers.redis is None
        assert servers.environment() == {}
    assert [line for line in said if "embedded" in line] == said


def test_where_servers_are_needed_a_bare_machine_is_an_error(bare_machine: None) -> None:
    with pytest.raises(ServerUnavailable, match=r"set RABBITMQ_URL.*install rabbitmq-server"):
        find_servers(allow_embedded=False, announce=lambda _: None)


@pytest.mark.timeout(120)
def test_installed_servers_run_as_private_children_until_closed() -> None:
    said: list[str] = []
    with find_servers(allow_embedded=False, announce=said.append) as servers:
        assert servers.rabbitmq is not None
        assert servers.redis is not None
        assert servers.rabbitmq.origin == servers.redis.origin == "private"
        children = [servers.rabbitmq.private, servers.redis.private]
        assert all(child is not None and child.is_running for child in children)
        assert servers.rabbitmq.management_url
        assert set(servers.environment()) == {"RABBITMQ_URL", "REDIS_URL"}
    assert not any(child is not None and child.is_running for child in children)
    assert any(line.startswith("RabbitMQ ") and "private" in line for line in said)


def test_one_of_several_given_hosts_is_enough(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    dead = ReservedPort()
    with PrivateRabbitmq(plugins=()) as given:
        request.getfixturevalue("bare_machine")
        url = f"amqp://guest:guest@127.0.0.1:{dead.number},127.0.0.1:{given.port}/%2F"
        monkeypatch.setenv("RABBITMQ_URL", url)
        with find_servers(allow_embedded=True, announce=lambda _: None) as servers:
            assert servers.rabbitmq is not None
            assert servers.rabbitmq.version == given.version
            assert "guest" not in servers.rabbitmq.describe()
    dead.release()
