"""Declaring tasks: names, options, ``self``; what is wrong is refused at import."""

from __future__ import annotations

import inspect
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import dramatiq
import pytest

from cifra_jobs import NotYetBuilt, OptionError, Task, current_task, task
from cifra_jobs.jobs.options import LATER
from tests.contract.loading import import_anew

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Ledger, TestApp


def test_a_task_is_an_actor_named_after_its_function(app: TestApp) -> None:
    @task
    def plain(x: int) -> int:
        """What it does."""
        return x

    @task
    async def coroutine(x: int) -> int:
        return x

    for declared in (plain, coroutine):
        assert isinstance(declared, Task)
        assert isinstance(declared, dramatiq.Actor)
        assert app.broker.get_actor(declared.actor_name) is declared
    assert plain.actor_name == "plain"
    assert plain.__doc__ == "What it does."
    assert task(name="other")(lambda: None).actor_name == "other"
    assert task(actor_name="dramatiqs")(lambda: None).actor_name == "dramatiqs"


async def test_calling_a_task_runs_its_function_here_and_now(app: TestApp, ledger: Ledger) -> None:
    @task
    def plain(x: int) -> int:
        ledger("plain")
        return x + 1

    @task
    async def coroutine(x: int) -> int:
        ledger("coroutine")
        return x + 1

    @task
    def bound(self: Any, x: int) -> Any:
        return self, x

    assert plain(1) == 2
    assert inspect.isawaitable(waiting := coroutine(1))
    assert await waiting == 2
    assert bound(3) == (current_task, 3)  # type: ignore[call-arg]  # the library gives self
    assert ledger.entries == ["plain", "coroutine"]
    app.declare([app.queue])
    assert app.ready() == 0


def test_a_second_task_of_a_name_says_where_the_first_is(app: TestApp) -> None:
    @task(name="send_email")
    def first() -> None: ...

    line = inspect.getsourcelines(first.fn)[1]
    with pytest.raises(OptionError) as refused:

        @task(name="send_email")
        def second() -> None: ...

    assert f"{__file__}:{line}" in str(refused.value)
    assert "send_email" in str(refused.value)

    with pytest.raises(OptionError, match="already declared"):
        task(name="send_email")(lambda: None)


def test_importing_opens_no_connection_and_reads_no_file(tmp_path: Any) -> None:
    (tmp_path / "config.yaml").write_text("this: [is not a configuration")
    (tmp_path / "some_tasks.py").write_text(
        "from cifra.tasks import task\n"
        "@task(queue='high_priority', retry=3)\n"
        "async def work(): await self.update_progress(1)\n"
    )
    program = (
        "import sys, socket\n"
        "opened = []\n"
        "def watch(event, args):\n"
        "    if event == 'socket.connect': opened.append(args)\n"
        "    if event == 'open' and str(args[0]).endswith(('.yaml', '.lua', '.env')):"
        " opened.append(args)\n"
        "sys.addaudithook(watch)\n"
        "import some_tasks, threading\n"
        "assert not opened, opened\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    paths = [str(tmp_path), *[path for path in sys.path if path]]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(paths), "CIFRA_BROKER__URL": "not a url"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_documented_import_path_gives_the_very_same_objects() -> None:
    import cifra.tasks
    import cifra_jobs

    names = """
        task scheduled_task rate_limit chain group chord signature TaskHandle TaskStatus
        TaskFailed TaskRetry task_monitor current_task
    """
    for name in names.split():
        assert getattr(cifra.tasks, name) is getattr(cifra_jobs, name)
    import cifra

    assert getattr(cifra, "__file__", None) is None


# -- options -----------------------------------------------------------------------------------

DEFAULTS: dict[str, Any] = {
    "priority": 5,
    "max_retries": 3,
    "retry_delay_ms": 60_000,
    "has_backoff": True,
    "retry_backoff_max_ms": 600_000,
    "has_jitter": False,
    "retry_for": (),
    "no_retry_for": (),
    "timeout_s": None,
    "soft_timeout_s": None,
    "store_result": True,
    "result_ttl_ms": 3_600_000,
    "expires": None,
    "on_success": (),
    "on_failure": (),
    "is_early_ack": False,
    "sensitive": (),
}


def test_every_option_has_its_documented_default(make_app: Callable[..., TestApp]) -> None:
    make_app(retry={"default_retry_delay": 60})

    @task
    def bare() -> None: ...

    resolved = bare.resolved()
    assert {name: getattr(resolved, name) for name in DEFAULTS} == DEFAULTS


SPELLINGS = [
    ({"priority": 9}, "priority", 9),
    ({"broker_priority": 9}, "priority", 9),
    ({"retry": 7}, "max_retries", 7),
    ({"max_retries": 7}, "max_retries", 7),
    ({"max_retries": None}, "max_retries", None),
    ({"retry_delay": 1.5}, "retry_delay_ms", 1500),
    ({"retry_delay": timedelta(minutes=1)}, "retry_delay_ms", 60_000),
    ({"min_backoff": 1500}, "retry_delay_ms", 1500),
    ({"min_backoff": timedelta(seconds=2)}, "retry_delay_ms", 2000),
    ({"retry_backoff": False}, "has_backoff", False),
    ({"retry_backoff_max": 5}, "retry_backoff_max_ms", 5000),
    ({"max_backoff": 5000}, "retry_backoff_max_ms", 5000),
    ({"retry_jitter": True}, "has_jitter", True),
    ({"retry_for": ValueError}, "retry_for", (ValueError,)),
    ({"retry_for": [ValueError, OSError]}, "retry_for", (ValueError, OSError)),
    ({"no_retry_for": (KeyError,)}, "no_retry_for", (KeyError,)),
    ({"throws": KeyError}, "no_retry_for", (KeyError,)),
    ({"timeout": 2}, "timeout_s", 2),
    ({"timeout": timedelta(minutes=2)}, "timeout_s", 120),
    ({"time_limit": 2000}, "timeout_s", 2),
    ({"soft_timeout": 1}, "soft_timeout_s", 1),
    ({"store_result": False}, "store_result", False),
    ({"store_results": False}, "store_result", False),
    ({"ignore_result": True}, "store_result", False),
    ({"result_expires": 60}, "result_ttl_ms", 60_000),
    ({"result_ttl": 60_000}, "result_ttl_ms", 60_000),
    ({"expires": 30}, "expires", 30),
    ({"max_age": 30_000}, "expires", 30),
    ({"on_success": "other"}, "on_success", ("other",)),
    ({"on_failure": ["one", "two"]}, "on_failure", ("one", "two")),
    ({"acks": "early"}, "is_early_ack", True),
    ({"sensitive": "password"}, "sensitive", ("password",)),
]


@pytest.mark.parametrize(
    ("options", "name", "value"), SPELLINGS, ids=[str(entry[0]) for entry in SPELLINGS]
)
def test_an_option_is_taken_in_each_spelling(
    app: TestApp, options: dict[str, Any], name: str, value: Any
) -> None:
    @task(**options)
    def work(password: str = "") -> None: ...

    assert getattr(work.resolved(), name) == value


def test_the_queue_has_two_spellings(app: TestApp) -> None:
    assert task(name="a", queue="high_priority")(lambda: None).queue == "high_priority"
    assert task(name="b", queue_name="low")(lambda: None).queue == "low"


BAD_VALUES: list[dict[str, Any]] = [
    {"name": ""},
    {"name": 5},
    {"queue": ""},
    {"queue": "a.b"},
    {"queue": "1st"},
    {"queue": "x" * 65},
    {"queue": 5},
    {"priority": 10},
    {"priority": -1},
    {"priority": "9"},
    {"priority": True},
    {"retry": -1},
    {"retry": 1.5},
    {"retry": True},
    {"retry_delay": -1},
    {"retry_delay": "60"},
    {"retry_delay": float("nan")},
    {"min_backoff": "60"},
    {"retry_backoff": 2},
    {"retry_backoff_max": -1},
    {"retry_jitter": "yes"},
    {"retry_for": "ValueError"},
    {"retry_for": (ValueError, 5)},
    {"no_retry_for": ValueError()},
    {"timeout": 0},
    {"timeout": -1},
    {"timeout": "5m"},
    {"time_limit": 0},
    {"soft_timeout": 0},
    {"store_result": "no"},
    {"ignore_result": 1},
    {"result_expires": 0},
    {"expires": "tomorrow"},
    {"expires": -1},
    {"expires": True},
    {"on_success": 5},
    {"on_failure": print},
    {"acks": "sometimes"},
    {"bind": "self"},
    {"sensitive": 5},
    {"sensitive": "pasword"},
]


@pytest.mark.parametrize("options", BAD_VALUES, ids=str)
def test_a_bad_value_is_refused_at_import_naming_task_and_option(
    app: TestApp, options: dict[str, Any]
) -> None:
    with pytest.raises(OptionError) as refused:

        @task(**options)
        def work(password: str = "") -> None: ...

    (name,) = options
    assert name in str(refused.value)
    assert "work" in str(refused.value) or "name" in options
    assert "work" not in app.broker.actors


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("retrry", "retry"),
        ("time_out", "timeout"),
        ("prioritty", "priority"),
        ("queu", "queue"),
        ("on_sucess", "on_success"),
        ("max_retrys", "max_retries"),
    ],
)
def test_an_unknown_option_is_refused_at_import_naming_the_nearest(
    app: TestApp, wrong: str, right: str
) -> None:
    with pytest.raises(OptionError, match=f"'{wrong}'.*did you mean '{right}'"):
        task(**{wrong: 1})(lambda: None)


def test_a_misspelled_keyword_of_a_call_is_told_the_nearest(app: TestApp) -> None:
    @task
    def work() -> None: ...

    with pytest.raises(OptionError, match="'countdwn'; did you mean 'countdown'"):
        work.apply_async(countdwn=4)


def test_an_option_like_no_other_lists_the_valid_ones(app: TestApp) -> None:
    with pytest.raises(OptionError, match=r"'zzz'.*retry.*timeout"):
        task(zzz=1)(lambda: None)


def test_one_option_in_two_spellings_is_refused(app: TestApp) -> None:
    with pytest.raises(OptionError, match="same option"):
        task(retry=1, max_retries=2)(lambda: None)


@pytest.mark.parametrize("name", LATER)
def test_an_option_of_later_is_refused_with_a_sentence(app: TestApp, name: str) -> None:
    with pytest.raises(NotYetBuilt, match=f"{name}.*does not have"):
        task(**{name: 1})(lambda: None)


def test_notify_shutdown_is_refused_where_no_thread_is(app: TestApp) -> None:
    async def coroutine() -> None: ...

    with pytest.raises(OptionError, match=r"notify_shutdown.*async"):
        task(notify_shutdown=True)(coroutine)


@pytest.mark.parametrize(
    "fn",
    [
        pytest.param(5, id="a number"),
        pytest.param("name", id="a string"),
        pytest.param(iter(()), id="an iterator"),
    ],
)
def test_only_functions_are_tasks(app: TestApp, fn: Any) -> None:
    with pytest.raises(OptionError, match="wants a function"):
        task(fn)


def test_a_generator_function_is_no_task(app: TestApp) -> None:
    def generator() -> Any:
        yield 1

    with pytest.raises(OptionError, match="generator"):
        task(generator)


# -- self --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["in_async", "in_thread", "in_nested_function", "in_comprehension", "in_lambda"]
)
def test_a_self_that_nobody_declares_is_the_current_task(
    app: TestApp, worker: Worker, name: str
) -> None:
    module = import_anew("modules/free_self.py")
    handle = getattr(module, name).delay()
    assert handle.result(10) in (handle, [handle])


def test_a_self_under_another_decorator_is_the_current_task(app: TestApp, worker: Worker) -> None:
    module = import_anew("modules/wrapped_self.py")
    handle = module.under_a_decorator.delay()
    assert handle.result(10) == handle


def test_a_module_keeps_a_self_of_its_own(app: TestApp, worker: Worker) -> None:
    module = import_anew("modules/own_self.py")
    assert module.reads_own_self.apply_sync() == "this module's own"
    assert module.self == "this module's own"


async def test_a_first_parameter_called_self_is_the_current_task(
    app: TestApp, worker: Worker
) -> None:
    @task
    async def bound(self: Any, x: int, y: int = 0) -> Any:
        return [self.request.id, x, y]

    @task
    def in_thread(self: Any, x: int) -> Any:
        return [self.request.id, x]

    handle = await bound.delay(1, y=2)  # type: ignore[call-arg]  # the worker gives self
    assert await handle.get(10) == [handle, 1, 2]
    handle = await in_thread.delay(3)  # type: ignore[call-arg]  # as above
    assert await handle.get(10) == [handle, 3]


async def test_bind_passes_the_current_task_under_any_name(app: TestApp, worker: Worker) -> None:
    @task(bind=True)
    async def bound(this: Any, x: int) -> Any:
        return [this.request.id, x]

    @task(bind=False)
    async def unbound(self: Any) -> Any:
        return self

    handle = await bound.delay(1)  # type: ignore[call-arg]  # as above
    assert await handle.get(10) == [handle, 1]
    assert await unbound.apply("an argument") == "an argument"


def test_current_task_outside_of_a_task_says_so() -> None:
    with pytest.raises(Exception, match="only inside a running task"):
        _ = current_task.request
    assert repr(current_task) == "<current_task: none>"
