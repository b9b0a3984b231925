import logging
import socket
import time

import pytest

from cifra_jobs.brokers.rabbitmq.connection import Connection
from cifra_jobs.brokers.rabbitmq.listener import Listener


def test_closing_while_the_broker_has_not_answered_yet_is_quick_and_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://127.0.0.1:{silent.getsockname()[1]}/%2F"
        connection = Connection([url], name="test", heartbeat_s=60, listener=Listener())
        connection.start()
        peer, _ = silent.accept()
        with peer:
            assert peer.recv(8) == b"AMQP\x00\x00\x09\x01", "the handshake has begun"
            begun = time.monotonic()
            connection.close(timeout_s=20)
            assert time.monotonic() - begun < 5
            assert peer.recv(1) == b"", "it has hung up"
    assert not connection.is_alive
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
