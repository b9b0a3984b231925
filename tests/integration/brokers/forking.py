"""Publishes, forks, and publishes on both sides; the argument are the URL and a queue."""

import os
import sys
import threading

from cifra_jobs.brokers.base import Publication
from cifra_jobs.brokers.rabbitmq.transport import RabbitmqTransport
from cifra_jobs.errors import BrokerError


def publish(transport: RabbitmqTransport, queue: str, body: bytes) -> None:
    finished = threading.Event()
    errors: list[object] = []
    publication = Publication(queue, body, body.decode())

    def done(results: list[BrokerError | None]) -> None:
        errors.extend(results)
        finished.set()

    transport.publish([publication], done, timeout_s=10)
    if not finished.wait(15) or errors != [None]:
        raise SystemExit(f"{body!r} was not confirmed: {errors}")


def main(url: str, queue: str) -> None:
    transport = RabbitmqTransport(url, namespace="faults")
    publish(transport, queue, b"grandparent")
    publish(transport, queue, b"parent")
    child = os.fork()
    if not child:
        publish(transport, queue, b"child")
        transport.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    publish(transport, queue, b"parent again")
    transport.close()
    raise SystemExit(os.waitstatus_to_exitcode(status))


main(*sys.argv[1:])
