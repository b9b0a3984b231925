"""Tests of tasks: the body alone, what was sent, and the whole way through a worker."""

import pytest
from app import send_email, sign_up

from cifra_jobs import App
from cifra_jobs.testing import assert_enqueued, refute_enqueued


def test_the_body_is_a_function() -> None:
    assert send_email("a@example.com", "hi") == "hi -> a@example.com"


def test_signing_up_sends_one_email(idle_jobs_app: App) -> None:
    sign_up("Ann", "a@example.com")
    assert_enqueued(idle_jobs_app, send_email, ("a@example.com", "welcome Ann"))
    refute_enqueued(idle_jobs_app, sign_up)


@pytest.mark.usefixtures("jobs_app")
def test_a_worker_runs_it() -> None:
    assert sign_up.delay("Ann", "a@example.com").result(timeout=5) == "Ann"
