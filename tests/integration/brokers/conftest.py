import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pika
import pytest

from cifra_jobs.brokers.rabbitmq.topology import QueueSpec, build, teardown
from cifra_jobs.brokers.rabbitmq.transport import RabbitmqTransport
from cifra_jobs.dev.rabbitmq import PrivateRabbitmq, rabbitmq_scripts

#: One namespace for all tests: its delays are declared once.
NAMESPACE = "faults"

#: A message above it makes the broker close the channel.
MAX_MESSAGE_BYTES = 200_000


@dataclass
class Tls:
    """How to reach the node over TLS."""

    port: int
    certificate: Path

    @property
    def url(self) -> str:
        options = quote(str({"ca_certs": str(self.certificate), "server_hostname": "localhost"}))
        return f"amqps://guest:guest@127.0.0.1:{self.port}/?ssl_options={options}"


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """A free port and a certificate for ``localhost``, its key beside it."""
    certificate = tmp_path_factory.mktemp("tls") / "server.pem"
    arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)]
    command = ["openssl", *arguments.split(), *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        return Tls(free.getsockname()[1], certificate)


@pytest.fixture(scope="session")
def node(tls: Tls) -> Iterator[PrivateRabbitmq]:
    """A broker that may be hurt."""
    if rabbitmq_scripts() is None:
        pytest.skip("no RabbitMQ is installed here")
    config = {
        "max_message_size": str(MAX_MESSAGE_BYTES),
        "listeners.ssl.1": f"127.0.0.1:{tls.port}",
        "ssl_options.certfile": str(tls.certificate),
        "ssl_options.keyfile": str(tls.certificate.with_suffix(".key")),
        "ssl_options.cacertfile": str(tls.certificate),
    }
    with PrivateRabbitmq(config=config, plugins=()) as node:
        yield node


@pytest.fixture
def tls_url(node: PrivateRabbitmq, tls: Tls) -> str:
    """Where the node is reached over TLS, by those who know its certificate."""
    return tls.url


@pytest.fixture
def queue(node: PrivateRabbitmq) -> Iterator[str]:
    """The name of a queue that no other test uses; deleted afterwards."""
    name = f"q{uuid.uuid4().hex[:8]}"
    yield name
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        topology = build(NAMESPACE, {name: QueueSpec()})
        mine = tuple(each for each in topology.queues if each.name.endswith(name))
        teardown(connection.channel(), type(topology)(queues=mine))


@pytest.fixture
def open_transport(node: PrivateRabbitmq) -> Iterator[Callable[..., RabbitmqTransport]]:
    """Opens transports, and closes them afterwards."""
    opened: list[RabbitmqTransport] = []

    def open_one(url: str = node.url, **options: object) -> RabbitmqTransport:
        transport = RabbitmqTransport(url, namespace=NAMESPACE, **options)  # type: ignore[arg-type]
        opened.append(transport)
        return transport

    yield open_one
    for transport in opened:
        transport.close()


@pytest.fixture
def transport(open_transport: Callable[..., RabbitmqTransport], queue: str) -> RabbitmqTransport:
    """A transport that has declared the test's queue."""
    transport = open_transport()
    transport.declare([queue])
    return transport
