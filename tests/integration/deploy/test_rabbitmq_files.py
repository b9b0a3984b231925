"""The files of rabbitmq/ on a live node: they load, and each user can do its row and no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest

from cifra_jobs.brokers.rabbitmq import topology
from cifra_jobs.dev import PrivateRabbitmq

ROOT = Path(__file__).parents[3]
ROLES = ("topology", "producer", "scheduler", "worker", "operator", "monitor")
REFUSED = pika.exceptions.ChannelClosedByBroker

pytestmark = pytest.mark.timeout(120)


def settings(definitions: Path) -> dict[str, str]:
    """rabbitmq.conf as it is shipped, with the definitions of this test."""
    lines = (ROOT / "rabbitmq" / "rabbitmq.conf").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    config = {key.strip(): value.strip() for key, value in pairs}
    return config | {"load_definitions": str(definitions), "disk_free_limit.absolute": "50MB"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRabbitmq]:
    folder = tmp_path_factory.mktemp("rabbitmq")
    # Which file: the definitions are read before the version can be asked.
    with PrivateRabbitmq(plugins=()) as probe:
        is_old = probe.version.startswith("3.")
    source = ROOT / "rabbitmq" / ("definitions-3.x.json" if is_old else "definitions.json")
    filled = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "definitions.py"), str(source)],
        env={**os.environ, **{f"CIFRA_PASSWORD_{role.upper()}": role for role in ROLES}},
        capture_output=True,
        text=True,
        check=True,
    )
    definitions = folder / "definitions.json"
    definitions.write_text(filled.stdout)
    with PrivateRabbitmq(config=settings(definitions)) as server:
        with connect(server, "topology") as connection:
            kinds = {"mail": topology.QueueSpec(), "order": topology.QueueSpec(type="quorum")}
            wanted = topology.build("cifra", kinds)
            topology.declare(connection.channel(), wanted)
        yield server


def connect(node: PrivateRabbitmq, role: str, password: str | None = None) -> Any:
    login = pika.PlainCredentials(f"cifra-{role}", password or role)
    return pika.BlockingConnection(pika.ConnectionParameters(node.host, node.port, "cifra", login))


def publish(node: PrivateRabbitmq, role: str, exchange: str, key: str = "mail") -> None:
    with connect(node, role) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, b"x", mandatory=False)


def get(node: PrivateRabbitmq, role: str, queue: str) -> None:
    with connect(node, role) as connection:
        connection.channel().basic_get(queue, auto_ack=False)


@pytest.mark.parametrize(
    ("role", "exchange"),
    [
        ("producer", "cifra.task"),
        ("producer", "cifra.delay.13"),
        ("scheduler", "cifra.task"),
        ("worker", "cifra.task"),
        ("worker", "cifra.delay.00"),
        ("worker", "cifra.dlx"),
        ("operator", "cifra.task"),
        ("topology", "cifra.unrouted"),
    ],
)
def test_a_role_may_publish_where_its_row_says(
    node: PrivateRabbitmq, role: str, exchange: str
) -> None:
    publish(node, role, exchange)


@pytest.mark.parametrize(
    ("role", "exchange"),
    [
        ("producer", "cifra.dlx"),
        ("producer", "cifra.delay.deliver"),
        ("producer", ""),
        ("scheduler", "cifra.dlx"),
        ("worker", "cifra.unrouted"),
        ("worker", ""),
        ("operator", "cifra.dlx"),
        ("monitor", "cifra.task"),
    ],
)
def test_a_role_may_publish_nowhere_else(node: PrivateRabbitmq, role: str, exchange: str) -> None:
    with pytest.raises(REFUSED, match="ACCESS_REFUSED"):
        publish(node, role, exchange, key="cifra.q.mail")


@pytest.mark.parametrize(
    ("role", "queue"),
    [
        ("worker", "cifra.q.mail"),
        ("operator", "cifra.dead.mail"),
        ("operator", "cifra.dead._unrouted"),
        ("operator", "cifra.q.mail"),
    ],
)
def test_a_role_may_read_what_its_row_says(node: PrivateRabbitmq, role: str, queue: str) -> None:
    get(node, role, queue)


@pytest.mark.parametrize(
    ("role", "queue"),
    [
        ("producer", "cifra.q.mail"),
        ("scheduler", "cifra.q.mail"),
        ("worker", "cifra.dead.mail"),
        ("worker", "cifra.delay.00"),
        ("monitor", "cifra.q.mail"),
    ],
)
def test_a_role_may_read_nothing_else(node: PrivateRabbitmq, role: str, queue: str) -> None:
    with pytest.raises(REFUSED, match="ACCESS_REFUSED"):
        get(node, role, queue)


@pytest.mark.parametrize("role", [role for role in ROLES if role != "topology"])
def test_only_topology_may_declare_and_delete(node: PrivateRabbitmq, role: str) -> None:
    with connect(node, role) as connection, pytest.raises(REFUSED, match="ACCESS_REFUSED"):
        connection.channel().queue_declare("cifra.q.new", durable=True)
    with connect(node, role) as connection, pytest.raises(REFUSED, match="ACCESS_REFUSED"):
        connection.channel().queue_delete("cifra.q.mail")


def test_topology_may_not_touch_what_is_not_ours(node: PrivateRabbitmq) -> None:
    with connect(node, "topology") as connection, pytest.raises(REFUSED, match="ACCESS_REFUSED"):
        connection.channel().queue_declare("other.q.mail", durable=True)


def test_there_is_no_guest_and_a_wrong_password_is_refused(node: PrivateRabbitmq) -> None:
    assert "guest" not in node.rabbitmqctl("list_users")
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        connect(node, "worker", "wrong")


def test_the_policies_reach_their_queues(node: PrivateRabbitmq) -> None:
    rows = node.rabbitmqctl("list_queues", "--vhost", "cifra", "name", "policy").splitlines()
    policy = dict(row.split("\t") for row in rows if "\t" in row)
    # A classic queue has no count of deliveries, so no policy of it reaches one.
    assert policy["cifra.q.order"] == "cifra-work"
    if node.version.startswith("3."):
        assert policy["cifra.delay.13"] == "cifra-delay"
    else:
        assert policy["cifra.dead.order"] == "cifra-dead"


def test_the_monitor_sees_the_overview_and_no_users(node: PrivateRabbitmq) -> None:
    base = node.management_url.replace("guest:guest@", "")
    login = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    login.add_password(None, base, "cifra-monitor", "monitor")
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(login))
    with opener.open(f"{base}/api/overview", timeout=10) as answer:
        assert json.load(answer)["rabbitmq_version"] == node.version
    with pytest.raises(urllib.error.HTTPError, match="401"):
        opener.open(f"{base}/api/users", timeout=10)
