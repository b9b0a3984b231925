"""In-process events: who listens hears, who fails is alone with it."""

import logging
from typing import Any

import pytest

from cifra_jobs import telemetry


def test_a_listener_hears_events_until_it_is_detached() -> None:
    heard: list[tuple[str, dict[str, Any]]] = []
    detach = telemetry.attach(lambda name, facts: heard.append((name, facts)))
    telemetry.emit("broker.connected", host="here")
    detach()
    detach()
    telemetry.emit("broker.lost")
    assert heard == [("broker.connected", {"host": "here"})]


def test_a_failing_listener_disturbs_neither_the_announcer_nor_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[str] = []

    def fail(_name: str, _facts: dict[str, Any]) -> None:
        raise RuntimeError("broken ear")

    detachers = [telemetry.attach(fail), telemetry.attach(lambda name, _: heard.append(name))]
    with caplog.at_level(logging.ERROR):
        telemetry.emit("queue.declared", name="mail")
    for detach in detachers:
        detach()
    assert heard == ["queue.declared"]
    assert "broken ear" in caplog.text


def test_a_listener_attached_twice_is_detached_once_at_a_time() -> None:
    heard: list[str] = []

    def listen(name: str, _facts: dict[str, Any]) -> None:
        heard.append(name)

    first, second = telemetry.attach(listen), telemetry.attach(listen)
    first()
    first()
    telemetry.emit("a")
    second()
    telemetry.emit("b")
    assert heard == ["a"]
