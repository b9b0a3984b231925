"""Log lines: their form, their facts, and what never gets into them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog

from cifra_jobs.config import LoggingSettings
from cifra_jobs.log import bind, bound, configure_logging, get_logger, unbind

log = get_logger("cifra_jobs.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def set_up(
    form: Literal["auto", "console", "json"] = "json", level: Any = "INFO", *, tty: bool = False
) -> io.StringIO:
    stream = Terminal() if tty else io.StringIO()
    configure_logging(LoggingSettings(format=form, level=level), stream)
    return stream


def _refuse() -> None:
    raise ConnectionError("amqp://u:hush@h refused")


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_program_reads_json_with_time_level_event_and_facts() -> None:
    stream = set_up("auto")
    log.info("task started", task_id="1", queue="mail")
    (line,) = lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line["timestamp"].endswith("Z")
    assert line["logger"] == "cifra_jobs.test"
    assert (line["level"], line["event"], line["task_id"]) == ("info", "task started", "1")


def test_a_person_on_a_terminal_reads_key_and_value() -> None:
    stream = set_up("auto", tty=True)
    log.info("task started", queue="mail")
    text = stream.getvalue()
    assert "task started" in text
    assert "queue" in text
    assert not text.startswith("{")


def test_a_person_reads_the_change_of_a_state_in_one_line_of_120_columns() -> None:
    stream = set_up("console")
    facts = {"queue": "cpu_intensive", "task": "generate_monthly_report", "attempt": 1}
    moves = {"from": "queued", "to": "running"}
    log.info("task state", task_id="6f0d16fb-5a83-49e7-b143-683fab21b0f3", **facts, **moves)
    (line,) = stream.getvalue().splitlines()
    assert "generate_monthly_report queued → running" in line
    assert line.endswith("queue=cpu_intensive task_id=6f0d16fb-5a83-49e7-b143-683fab21b0f3")
    assert len(line) <= 120


def test_a_person_reads_the_level_of_what_is_not_ordinary() -> None:
    stream = set_up("console")
    log.info("ordinary")
    log.warning("odd")
    logging.getLogger("pika.connection").warning("lost")
    ordinary, odd, lost = stream.getvalue().splitlines()
    assert "info" not in ordinary
    assert "[warning] odd" in odd
    assert "pika.connection" in lost
    assert "cifra_jobs" not in odd


def test_lines_of_libraries_come_out_the_same_way_with_the_same_facts() -> None:
    stream = set_up()
    with bound(task_id="7"):
        logging.getLogger("dramatiq.worker").warning("slow %s", "thing", extra={"queue": "mail"})
        structlog.get_logger("shop.tasks").info("paid", amount=3)
    theirs, own = lines(stream)
    assert (theirs["event"], theirs["queue"], theirs["task_id"]) == ("slow thing", "mail", "7")
    assert (own["event"], own["amount"], own["task_id"]) == ("paid", 3, "7")


def test_pika_speaks_from_warnings_on() -> None:
    stream = set_up(level="DEBUG")
    logging.getLogger("pika.connection").info("chatter")
    logging.getLogger("pika.connection").warning("lost")
    assert [line["event"] for line in lines(stream)] == ["lost"]


def test_facts_are_bound_until_they_are_unbound() -> None:
    stream = set_up()
    bind(task_id="1", attempt=2)
    log.info("a")
    unbind("task_id", "attempt", "never bound")
    log.info("b")
    first, second = lines(stream)
    assert (first["task_id"], first["attempt"]) == ("1", 2)
    assert "task_id" not in second


@pytest.mark.parametrize("form", ["json", "console"])
def test_passwords_never_reach_a_line(form: Literal["json", "console"]) -> None:
    stream = set_up(form)
    log.info("connecting", url="amqp://u:hush@h/x", password="hush", urls=["redis://:hush@h"])
    logging.getLogger("lib").error("no answer from %s", "amqp://u:hush@h")
    try:
        _refuse()
    except ConnectionError:
        log.exception("failed")
    assert "hush" not in stream.getvalue()
    assert stream.getvalue().count("***") >= 5
    assert "ConnectionError" in stream.getvalue()


def test_setting_up_again_replaces_and_does_not_double() -> None:
    first = set_up()
    second = set_up()
    log.info("once")
    assert first.getvalue() == ""
    assert len(lines(second)) == 1


def test_a_level_below_the_set_one_is_dropped() -> None:
    stream = set_up(level="WARNING")
    log.info("quiet")
    log.warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_values_that_are_not_json_are_shown_as_text() -> None:
    stream = set_up()
    log.info("odd", value={1: object()})
    assert "object" in stream.getvalue()


def test_embedded_in_an_application_lines_go_where_its_own_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        log.info("sent", queue="mail", url="amqp://u:hush@h")
    assert "sent queue='mail' url='amqp://u:***@h'" in caplog.text
