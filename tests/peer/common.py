"""What Dramatiq's tests import from their own ``common``, which its distribution leaves out."""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dramatiq
import pika
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

RABBITMQ_USERNAME = os.getenv("RABBITMQ_USERNAME", "guest")
RABBITMQ_PASSWORD = os.getenv("RABBITMQ_PASSWORD", "guest")
RABBITMQ_CREDENTIALS = pika.credentials.PlainCredentials(RABBITMQ_USERNAME, RABBITMQ_PASSWORD)

skip_in_ci = pytest.mark.skipif(os.getenv("CI") is not None, reason="test skipped in CI")
skip_on_pypy = pytest.mark.skipif(
    platform.python_implementation() == "PyPy", reason="time limits need CPython"
)
skip_on_windows = pytest.mark.skipif(os.name == "nt", reason="test skipped on Windows")
#: A server is always brought: see the fixtures.
skip_unless_rabbit_mq = pytest.mark.skipif(False, reason="RabbitMQ is here")


@contextmanager
def worker(*args: Any, **kwargs: Any) -> Iterator[Any]:
    """A worker that runs inside the block; `dramatiq.Worker` is ours by then."""
    running = dramatiq.Worker(*args, **kwargs)
    running.start()
    try:
        yield running
    finally:
        running.stop()
