"""Unit tests use nothing outside the process, whatever servers the environment names."""

import pytest


@pytest.fixture(autouse=True)
def _no_servers_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RABBITMQ_URL", "RABBITMQ_MANAGEMENT_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
