"""Reserved ports are ours alone, and can still be bound."""

from __future__ import annotations

import random
import socket

from cifra_jobs.dev.children import LOOPBACK, ReservedPort


def test_reserved_ports_differ_even_when_random_is_seeded_alike() -> None:
    random.seed(7)
    first = ReservedPort()
    random.seed(7)
    second = ReservedPort()
    assert first.number != second.number
    first.release()
    second.release()


def test_a_reserved_port_can_be_bound_again_and_again() -> None:
    port = ReservedPort()
    for _ in range(2):
        with socket.create_server((LOOPBACK, port.number)):
            pass
    port.release()


def test_a_reserved_port_lies_below_the_range_of_outgoing_connections() -> None:
    port = ReservedPort()
    assert 20_000 <= port.number < 32_000
    port.release()
