"""Settings: what is read, from where, and what is refused."""

import pickle
import random
import string
from datetime import timedelta
from pathlib import Path
from typing import Any, get_origin

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs.config import Settings, WorkerDefaults, WorkerEntry, WorkerFile, mask
from cifra_jobs.config.addresses import split_urls
from cifra_jobs.config.problems import model_of
from cifra_jobs.config.problems import setting_fields as fields_of
from cifra_jobs.config.units import parse_bytes
from cifra_jobs.errors import ConfigError, NotYetBuilt

REFERENCE = Path(__file__).parents[2] / "config.yaml"
ALL = [path for path, _ in fields_of(Settings)]
PLATFORM = """
background_jobs:
  broker:
    type: {broker}
    url: redis://localhost:6379/0
  result_backend:
    type: redis
    url: redis://localhost:6379/1
    expires: 3600 # Results expire after 1 hour
  workers:
    default_concurrency: 4
    prefetch_multiplier: 4
    max_tasks_per_child: 1000
  retry:
    max_retries: 3
    default_retry_delay: 60
    retry_backoff: true
    retry_backoff_max: 600
  monitoring:
    flower:
      enabled: true
      port: 5555
    metrics:
      enabled: true
      prometheus_port: 9090
"""
PLATFORM_WORKERS = """
workers:
  default:
    concurrency: 4
    prefetch_multiplier: 4
    queues: [default]
  priority:
    concurrency: 2
    queues: [high_priority]
  cpu:
    concurrency: 2
    max_tasks_per_child: 100
    queues: [cpu_intensive]
  io:
    concurrency: 20
    queues: [io_intensive]
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file and no variable of the machine's own."""
    monkeypatch.chdir(tmp_path)
    for name in ("RABBITMQ_URL", "REDIS_URL", "CIFRA_CONFIG", "CIFRA_INCLUDE"):
        monkeypatch.delenv(name, raising=False)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def nested(path: tuple[str, ...]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for part in reversed(path):
        value = {part: value}
    return value


# ---- what wins


def test_keywords_win_over_environment_over_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(
        tmp_path / "jobs.yaml",
        "background_jobs:\n  retry: {max_retries: 1, default_retry_delay: 1, retry_backoff_max: 1}",
    )
    monkeypatch.setenv("CIFRA_RETRY__MAX_RETRIES", "2")
    monkeypatch.setenv("CIFRA_RETRY__DEFAULT_RETRY_DELAY", "2")
    settings = Settings(file, retry={"max_retries": 3})
    assert settings.retry.max_retries == 3
    assert settings.retry.default_retry_delay == 2
    assert settings.retry.retry_backoff_max == 1
    assert settings.retry.retry_backoff is True
    assert settings.source_file == file


def test_the_file_is_the_named_one_else_the_environments_else_the_one_lying_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "config.yaml", "background_jobs: {namespace: here}")
    assert Settings().namespace == "here"
    monkeypatch.setenv(
        "CIFRA_CONFIG", str(write(tmp_path / "b", "background_jobs: {namespace: b}"))
    )
    assert Settings().namespace == "b"
    assert Settings(write(tmp_path / "c", "background_jobs: {namespace: c}")).namespace == "c"


def test_the_customary_addresses_are_understood_and_ours_win_over_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "amqp://customary")
    monkeypatch.setenv("REDIS_URL", "redis://customary")
    assert Settings().broker.url == "amqp://customary"
    monkeypatch.setenv("CIFRA_BROKER__URL", "amqp://ours")
    settings = Settings()
    assert (settings.broker.url, settings.result_backend.url) == (
        "amqp://ours",
        "redis://customary",
    )


def test_an_address_that_is_none_is_told_with_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RABBITMQ_URL", "localhost:5672")
    with pytest.raises(ConfigError, match=r"broker \(from RABBITMQ_URL\).*amqp://"):
        Settings()


def test_lists_mappings_and_optional_values_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CIFRA_INCLUDE", "shop.tasks, shop.mail")
    monkeypatch.setenv("CIFRA_TASK_ROUTES", '{"send_email": {"queue": "mail"}}')
    monkeypatch.setenv("CIFRA_QUEUES__MAIL__TYPE", "quorum")
    monkeypatch.setenv("CIFRA_TASK_DEFAULTS__TIMEOUT", "300")
    monkeypatch.setenv("CIFRA_WORKERS__MAX_TASKS_PER_CHILD", "null")
    monkeypatch.setenv("CIFRA_WORKERS__MAX_MEMORY_PER_CHILD", "512MB")
    settings = Settings(workers={"prefetch_multiplier": 2})
    assert settings.include == ["shop.tasks", "shop.mail"]
    assert settings.task_routes == {"send_email": {"queue": "mail"}}
    assert settings.queue("mail").is_quorum
    assert settings.queue("other").priorities == 9
    assert settings.task_defaults == {"timeout": 300}
    assert settings.workers.max_tasks_per_child is None
    assert settings.workers.max_memory_per_child == 512 * 1024**2
    assert settings.workers.prefetch_multiplier == 2


def test_a_memory_broker_brings_a_memory_store_unless_one_is_named() -> None:
    assert Settings(broker={"type": "memory"}).result_backend.type == "memory"
    named = Settings(broker={"type": "memory"}, result_backend={"type": "redis"})
    assert named.result_backend.type == "redis"


def test_durations_may_be_timedeltas() -> None:
    assert Settings(history_retention=timedelta(days=1)).history_retention == 86400


def test_settings_are_frozen_and_travel_to_a_child_process() -> None:
    settings = Settings(namespace="mine", broker={"url": "amqp://u:hush@h"})
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "namespace", "other")  # noqa: B010 - mypy forbids the plain way
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings.broker, "url", "amqp://x")  # noqa: B010 - as above
    again = pickle.loads(pickle.dumps(settings))  # noqa: S301 - our own bytes
    assert again == settings
    assert again.broker.url == "amqp://u:hush@h"


# ---- the documented files


def test_the_reference_file_holds_every_setting_with_its_default_and_its_variable() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    data = yaml.safe_load(text)["background_jobs"]
    for path, _ in fields_of(Settings):
        variable = "CIFRA_" + "__".join(path).upper()
        assert variable in text, f"{variable} is not in config.yaml"
        if "NAME" not in path:
            here: Any = data
            for part in path:
                assert part in here, f"{'.'.join(path)} is not in config.yaml"
                here = here[part]
    assert Settings(REFERENCE).model_dump() == Settings().model_dump()


def test_the_platforms_documented_file_loads_but_for_its_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"rabbitmq.*memory"):
        Settings(write(tmp_path / "redis.yaml", PLATFORM.format(broker="redis")))
    monkeypatch.setenv("CIFRA_BROKER__URL", "amqp://localhost")
    settings = Settings(write(tmp_path / "rabbit.yaml", PLATFORM.format(broker="rabbitmq")))
    assert settings.monitoring.flower.enabled
    assert settings.monitoring.metrics.prometheus_port == 9090
    assert settings.workers.prefetch_multiplier == 4


def test_the_platforms_documented_worker_file_loads(tmp_path: Path) -> None:
    file = WorkerFile.load(write(tmp_path / "w.yaml", PLATFORM_WORKERS))
    assert list(file.workers) == ["default", "priority", "cpu", "io"]
    assert file.entry("cpu").max_tasks_per_child == 100


# ---- what is refused


def typos(word: str) -> list[str]:
    rng = random.Random(word)
    at = rng.randrange(len(word))
    letter = rng.choice([c for c in string.ascii_lowercase if c not in word])
    return [
        word[:at] + letter + word[at:],
        word[:at] + letter + word[at + 1 :],
        word[:at] + word[at + 1 :],
    ]


@pytest.mark.parametrize("path", ALL, ids=".".join)
def test_a_typo_of_one_letter_in_any_key_is_refused_and_the_key_named(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for depth, word in enumerate(path):
        if word == "NAME":
            continue
        for typo in typos(word):
            wrong = (*path[:depth], typo)
            with pytest.raises(ConfigError) as caught:
                Settings(**nested(wrong))
            assert f"did you mean '{word}'?" in str(caught.value)
            assert ".".join(wrong) in str(caught.value)
            if "__" in "__".join(wrong):
                variable = "CIFRA_" + "__".join(wrong).upper()
                monkeypatch.setenv(variable, "1")
                with pytest.raises(ConfigError, match=rf"{variable} names no setting.*CIFRA_"):
                    Settings()
                monkeypatch.delenv(variable)


def test_a_key_in_the_wrong_section_is_told_where_it_belongs() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'retry\.max_retries'"):
        Settings(max_retries=2)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"broker": {"type": "rabitmq"}}, ["broker.type", "'rabitmq'", "did you mean 'rabbitmq'"]),
        ({"broker": {"url": "redis://u:hush@h"}}, ["broker", "redis://u:***@h", "amqp://"]),
        ({"result_backend": {"url": "amqp://u:hush@h"}}, ["redis://"]),
        ({"namespace": "a.b"}, ["namespace", "'a.b'", "no dots"]),
        ({"queues": {"a.b": {}}}, ["a.b", "no dots"]),
        ({"queues": {"a": {"priorities": 10}}}, ["queues.a.priorities", "10"]),
        ({"queues": {"a": {"type": "quorum", "priorities": 3}}}, ["queues.a", "quorum"]),
        ({"retry": {"max_retries": True}}, ["retry.max_retries", "True"]),
        ({"retry": {"max_retries": -1}}, ["retry.max_retries", "-1"]),
        ({"retry": {"retry_backoff_max": float("inf")}}, ["retry.retry_backoff_max", "inf"]),
        ({"publish_timeout": 0}, ["publish_timeout", "0"]),
        ({"worker_ttl": 6}, ["worker_ttl", "heartbeat"]),
        ({"timezone": "Europe/Berlinn"}, ["timezone", "Berlinn", "Europe/Berlin"]),
        ({"workers": {"max_memory_per_child": "lots"}}, ["max_memory_per_child", "512MB"]),
        ({"logging": {"level": "LOUD"}}, ["logging.level", "'LOUD'", "WARNING"]),
        ({"probes": {"port": 70000}}, ["probes.port", "70000"]),
        ({"monitoring": {"flower": {"allowed_origins": ["*"]}}}, ["public_status"]),
        ({"broker": 5}, ["broker", "5"]),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(
    overrides: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings(**overrides)
    for word in words:
        assert word in str(caught.value)
    assert "hush" not in str(caught.value)


def test_every_wrong_setting_is_told_at_once_and_where_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "jobs.yaml", "background_jobs: {retry: {max_retries: x}}")
    monkeypatch.setenv("CIFRA_PUBLISH_TIMEOUT", "soon")
    with pytest.raises(ConfigError) as caught:
        Settings(file)
    first, second = sorted(str(caught.value).splitlines())
    assert first.startswith("publish_timeout (from CIFRA_PUBLISH_TIMEOUT) = 'soon'")
    assert second.startswith(f"retry.max_retries (from {file}) = 'x'")


def test_a_variable_of_kubernetes_is_not_taken_for_a_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CIFRA_WEB_PORT_8080_TCP_ADDR", "10.0.0.1")
    monkeypatch.setenv("CIFRA_WEB_SERVICE_HOST", "10.0.0.1")
    assert Settings().namespace == "cifra"
    monkeypatch.setenv("CIFRA_NAMESPCE", "mine")
    with pytest.raises(ConfigError, match="did you mean CIFRA_NAMESPACE"):
        Settings()


def test_what_later_releases_build_is_refused() -> None:
    with pytest.raises(NotYetBuilt, match="schedules"):
        Settings(schedules={"nightly": {}})
    with pytest.raises(NotYetBuilt, match="Europe/Berlin"):
        Settings(timezone="Europe/Berlin")
    with pytest.raises(NotYetBuilt, match=r"reports\.\*"):
        Settings(task_routes={"reports.*": {"queue": "reports"}})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("background_jobs: [", "not valid YAML"),
        ("- 1", "must hold a mapping"),
        ("backgroundjobs: {}", "did you mean 'background_jobs'"),
        ("something: {}", "holds no 'background_jobs' section"),
        ("background_jobs: 5", "must be a mapping"),
        ("background_jobs:\n  namespace: a\n  namespace: b", "'namespace' is given twice"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = write(tmp_path / "jobs.yaml", text)
    with pytest.raises(ConfigError, match=words) as caught:
        Settings(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_refused_if_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"cannot read nowhere\.yaml"):
        Settings("nowhere.yaml")


def test_a_config_yaml_of_another_program_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path / "config.yaml", "site_name: not ours")
    assert Settings().namespace == "cifra"


# ---- secrets


def test_passwords_are_there_for_connectors_and_masked_for_readers() -> None:
    settings = Settings(
        broker={"url": "amqp://u:hush@a/x,amqp://u:hush@b"},
        result_backend={"url": "rediss://:hush@h/0"},
    )
    assert settings.broker.urls == ("amqp://u:hush@a/x", "amqp://u:hush@b")
    shown = [repr(settings), str(settings), f"{settings.broker} {settings.result_backend!r}"]
    assert "hush" not in " ".join([*shown, str(settings.masked())])
    assert settings.masked()["broker"]["url"] == "amqp://u:***@a/x,amqp://u:***@b"


@given(st.text(st.characters(codec="ascii", exclude_characters="@ ,/", categories=["L", "N", "P"])))
def test_no_password_survives_masking(password: str) -> None:
    secret = f"S{password}S"
    assert secret not in mask(f"cannot reach amqp://user:{secret}@host:5672/x, will try again")


def test_several_hosts_are_several_addresses() -> None:
    assert split_urls("amqp://u:p@a,b:5673/x") == ("amqp://u:p@a/x", "amqp://u:p@b:5673/x")
    assert split_urls("amqp://a, amqp://b") == ("amqp://a", "amqp://b")


@given(
    st.integers(1, 10**6), st.sampled_from(["k", "M", "g", "T"]), st.sampled_from(["", "B", "iB"])
)
def test_sizes_are_powers_of_1024(number: int, unit: str, ending: str) -> None:
    power = "kmgt".index(unit.lower()) + 1
    assert parse_bytes(f"{number} {unit}{ending}") == number * 1024**power


# ---- the worker file


def entry(**values: Any) -> WorkerEntry:
    return WorkerFile.parse({"w": {"queues": ["q"], **values}}, source="test").entry("w")


def test_concurrency_is_the_total_and_is_divided_over_the_processes() -> None:
    resolved = entry(concurrency=10, processes=4).resolved(WorkerDefaults())
    assert resolved.shares == (3, 3, 2, 2)
    assert entry(concurrency=3, mode="processes").resolved(WorkerDefaults()).shares == (1, 1, 1)
    assert entry().resolved(WorkerDefaults()).shares == (4,)
    assert entry(processes=6).resolved(WorkerDefaults()).shares == (1,) * 6


def test_an_entry_takes_from_the_settings_what_it_does_not_say() -> None:
    defaults = WorkerDefaults(prefetch_multiplier=3, max_tasks_per_child=7, default_concurrency=5)
    resolved = entry(max_tasks_per_child=9).resolved(defaults)
    assert (resolved.prefetch_multiplier, resolved.max_tasks_per_child) == (3, 9)
    assert resolved.concurrency == 5
    assert entry().resolved(WorkerDefaults()).prefetch_multiplier == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"concurency": 3}, r"workers\.w\.concurency.*did you mean 'concurrency'"),
        ({"mode": "thread"}, "did you mean 'threads'"),
        ({"concurrency": 2, "processes": 3}, "cannot share"),
        ({"concurrency": 4, "processes": 2, "mode": "processes"}, "one task in each process"),
        ({"concurrency": 0}, r"workers\.w\.concurrency \(from test\) = 0"),
        ({"queues": []}, r"workers\.w\.queues"),
        ({"queues": ["a.b"]}, "no dots"),
    ],
)
def test_a_wrong_worker_entry_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        entry(**values)


def test_a_worker_without_queues_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"workers\.w\.queues.*required"):
        WorkerFile.parse({"w": {}}, source="test")


def test_an_unknown_worker_names_the_nearest() -> None:
    file = WorkerFile.parse({"default": {"queues": ["q"]}}, source="test")
    with pytest.raises(ConfigError, match="did you mean 'default'"):
        file.entry("defualt")
    with pytest.raises(ConfigError, match="there are default"):
        file.entry("zzz")


def test_a_worker_file_is_found_beside_the_tasks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no worker file \(worker_config\.yaml"):
        WorkerFile.load()
    (tmp_path / "workers").mkdir()
    write(tmp_path / "workers" / "worker_config.yaml", PLATFORM_WORKERS)
    assert "io" in WorkerFile.load().workers
    with pytest.raises(ConfigError, match="did you mean 'workers'"):
        WorkerFile.load(write(tmp_path / "x.yaml", "wrokers: {}"))


def test_every_setting_says_what_it_is() -> None:
    for path, field in fields_of(Settings):
        assert field.description, ".".join(path)
        assert get_origin(field.annotation) is not dict or model_of(field.annotation) is None
