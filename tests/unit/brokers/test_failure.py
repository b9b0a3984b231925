from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs.brokers.failure import MAX_TRACEBACK_BYTES, FailureRecord

RECORD = FailureRecord(
    task="reports.build",
    id="0192f0a0",
    queue="default",
    reason="retries used up",
    exception_type="builtins.ValueError",
    message="no such report: Ünder",
    traceback="Traceback …",
    attempts=4,
    first_ms=1_700_000_000_000,
    last_ms=1_700_000_060_000,
    worker="default@host",
    versions={"cifra_jobs": "0.1.0", "python": "3.11.7"},
)


def test_a_record_comes_back_from_its_headers() -> None:
    assert FailureRecord.from_headers(RECORD.to_headers()) == RECORD


def test_headers_are_strings_and_integers_only() -> None:
    assert {type(value) for value in RECORD.to_headers().values()} == {str, int}


def test_an_empty_record_needs_no_headers() -> None:
    assert FailureRecord().to_headers() == {}
    assert FailureRecord.from_headers({}) is None


@given(st.text(min_size=1, max_size=5))
def test_a_long_traceback_is_cut_in_its_middle(text: str) -> None:
    long = f"first line {text * 10_000} last line"
    kept = FailureRecord(traceback=long).to_headers()["cifra-failure-traceback"]
    assert len(kept.encode()) <= MAX_TRACEBACK_BYTES
    assert kept.startswith("first line")
    assert kept.endswith("last line")


def test_half_a_surrogate_pair_travels_as_text() -> None:
    headers = FailureRecord(message="bad \ud800").to_headers()
    assert headers["cifra-failure-message"] == "bad \\ud800"


def test_strange_headers_are_left_out() -> None:
    headers = RECORD.to_headers() | {"cifra-failure-attempts": "many", "cifra-failure-task": 7}
    record = FailureRecord.from_headers(headers)
    assert record is not None
    assert (record.attempts, record.task, record.worker) == (0, "", "default@host")


def test_what_the_broker_buried_tells_its_own_reason() -> None:
    death = {"count": 3, "reason": "delivery_limit", "queue": "cifra.q.default", "time": 1_700}
    record = FailureRecord.from_headers({"x-death": [death]})
    assert record == FailureRecord(
        queue="cifra.q.default", reason="broker: delivery_limit", attempts=3, last_ms=1_700_000
    )


def test_to_send_again_the_record_is_taken_off() -> None:
    headers = {"trace": "abc"} | RECORD.to_headers()
    assert FailureRecord.strip(headers) == {"trace": "abc"}
