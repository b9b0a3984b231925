"""`Settings`: every setting of a deployment, validated whole when it is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from cifra_jobs.config.addresses import mask
from cifra_jobs.config.problems import config_error
from cifra_jobs.config.sections import (
    BrokerSettings,
    LoggingSettings,
    MonitoringSettings,
    ProbeSettings,
    QueueSettings,
    ResultBackendSettings,
    RetrySettings,
    WorkerDefaults,
)
from cifra_jobs.config.sources import find_file, from_environment, from_file, merge
from cifra_jobs.config.units import Bytes, Name, QueueName, Seconds, ZoneName
from cifra_jobs.errors import ConfigError, NotYetBuilt

__all__ = ["Settings"]

#: Documented settings of later releases: refused, never ignored.
_LATER = {"schedules": "schedules in the configuration"}


class Settings(BaseSettings):
    """Every setting of a deployment; frozen, and validated whole when it is made.

    Keyword arguments win over environment variables (``CIFRA_BROKER__URL``, then
    ``RABBITMQ_URL`` and ``REDIS_URL``), those over the file, the file over the defaults.

    Args:
        config_file: the YAML file; by default ``CIFRA_CONFIG``, else ``config.yaml`` in the
            working directory, if there is one.
        **overrides: settings by name; a mapping is merged into its section.

    Raises:
        ConfigError: a name or a value is wrong; each is named with its path and what was meant.
        NotYetBuilt: a documented setting that this release does not know how to honor.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    namespace: Name = Field(
        "cifra", description="first word of every name in RabbitMQ and Redis: letters, digits, - _"
    )
    include: list[str] = Field(
        [], description="modules of tasks to import; in the environment joined by commas"
    )
    timezone: ZoneName = Field("UTC", description="IANA name, for schedules and for 'today'")
    naive_datetimes: Literal["local", "error"] = Field(
        "local", description="local: the process's own zone (Python's rule); error: refuse them"
    )
    publish_timeout: Seconds = Field(
        5, gt=0, description="seconds until an unconfirmed send raises BrokerUnavailable"
    )
    topology: Literal["auto", "verify"] = Field(
        "auto", description="auto: declare queues; verify: only check, for users without the right"
    )
    max_message_size: Bytes = Field(
        4 * 1024 * 1024, description="bytes; a larger message is refused at the send"
    )
    history_retention: Seconds = Field(
        7 * 24 * 3600, description="seconds that the record of an ended task is kept"
    )
    unknown_task_grace: Seconds = Field(
        600, description="seconds that a task no worker knows waits, before it is dead-lettered"
    )
    dead_letter_expired: bool = Field(False, description="keep expired tasks as dead letters")
    shutdown_grace: Seconds = Field(
        30, description="seconds that a stopping worker gives its running tasks"
    )
    heartbeat: Seconds = Field(5, gt=0, description="seconds between a worker's signs of life")
    worker_ttl: Seconds = Field(
        20, gt=0, description="seconds of silence after which a worker counts as dead"
    )
    broker: BrokerSettings = BrokerSettings()
    result_backend: ResultBackendSettings = ResultBackendSettings()
    queues: dict[QueueName, QueueSettings] = Field({}, description="queues by name")
    workers: WorkerDefaults = WorkerDefaults()
    retry: RetrySettings = RetrySettings()
    task_defaults: dict[str, Any] = Field(
        {}, description="task options for every task that does not say otherwise"
    )
    task_routes: dict[str, dict[str, Any]] = Field(
        {}, description="task options by the exact name of a task, such as its queue"
    )
    logging: LoggingSettings = LoggingSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    probes: ProbeSettings = ProbeSettings()

    _source_file: Path | None = PrivateAttr(None)

    def __init__(
        self, config_file: str | os.PathLike[str] | None = None, /, **overrides: Any
    ) -> None:
        path, is_asked_for = find_file(config_file)
        values = from_file(path, is_asked_for=is_asked_for) if path is not None else {}
        environment, origins = from_environment(type(self), os.environ)
        try:
            super().__init__(**merge(merge(values, environment), overrides))
        except ValidationError as error:
            # Not `from error`: pydantic's own text would show passwords.
            raise _explained(error, path, origins, overrides) from None
        self._source_file = path

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what the constructor has merged: pydantic's own reading skips unknown variables."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for name, feature in _LATER.items():
            if name in data:
                raise NotYetBuilt(f"the setting {name!r} ({feature}) is not built yet")
        broker, backend = data.get("broker"), data.get("result_backend", {})
        kind = broker.get("type") if isinstance(broker, dict) else getattr(broker, "type", None)
        # Without a broker to share there is nobody to share results with.
        if kind == "memory" and isinstance(backend, dict):
            return {**data, "result_backend": {"type": "memory", **backend}}
        return data

    @field_validator("timezone")
    @classmethod
    def _no_use_for_it_yet(cls, zone: str) -> str:
        if zone != "UTC":
            raise NotYetBuilt(
                f"timezone = {zone!r}: it is for schedules and daily figures, which are not built "
                "yet; until then it is UTC"
            )
        return zone

    @field_validator("task_routes")
    @classmethod
    def _exact_names_only(cls, routes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in routes:
            if set(name) & set("*?["):
                raise NotYetBuilt(
                    f"task_routes.{name}: routes by pattern are not built yet; name each task"
                )
        return routes

    @model_validator(mode="after")
    def _check_whole(self) -> Settings:
        if self.worker_ttl < 2 * self.heartbeat:
            raise ValueError(
                f"worker_ttl ({self.worker_ttl:g} s) must be at least twice the heartbeat "
                f"({self.heartbeat:g} s), or one late sign of life counts as a death"
            )
        return self

    def queue(self, name: str) -> QueueSettings:
        """What the queue is made of: its own settings, or the defaults."""
        return self.queues.get(name) or QueueSettings()

    def masked(self) -> dict[str, Any]:
        """Every setting in effect as plain values, passwords masked: fit to be shown."""
        shown: dict[str, Any] = mask(self.model_dump(mode="json"))
        return shown

    @property
    def source_file(self) -> Path | None:
        """The file that was read, if any."""
        return self._source_file

    def __repr_args__(self) -> Any:
        return [(name, mask(value)) for name, value in super().__repr_args__()]

    def __str__(self) -> str:
        return repr(self)


def _explained(
    error: ValidationError,
    path: Path | None,
    origins: dict[tuple[str, ...], str],
    overrides: dict[str, Any],
) -> ConfigError:
    # A keyword argument hides the variable or the file that says something else.
    origins = {key: name for key, name in origins.items() if key[0] not in overrides}
    if path is not None:
        origins[()] = str(path)
    return config_error(error, Settings, origins=origins)
