"""The sections of the settings: one frozen model each, every key with its unit and default."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cifra_jobs.config.addresses import mask, split_urls
from cifra_jobs.config.units import Bytes, Count, Port, Positive, Seconds

__all__ = [
    "BrokerSettings",
    "FlowerSettings",
    "LoggingSettings",
    "MetricsSettings",
    "MonitoringSettings",
    "ProbeSettings",
    "QueueSettings",
    "ResultBackendSettings",
    "RetrySettings",
    "Section",
    "WorkerDefaults",
]


class Section(BaseModel):
    """A group of settings: frozen, no unknown keys, passwords masked when shown."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    def __repr_args__(self) -> Any:
        return [(name, mask(value)) for name, value in super().__repr_args__()]

    def __str__(self) -> str:
        return repr(self)


class BrokerSettings(Section):
    """The message broker."""

    type: Literal["rabbitmq", "memory"] = Field(
        "rabbitmq", description="rabbitmq, or memory: one process, nothing kept"
    )
    url: str = Field(
        "amqp://guest:guest@127.0.0.1:5672/%2F",
        description="address of RabbitMQ; several hosts joined by commas are tried in turn",
    )
    heartbeat: Seconds = Field(
        30, description="seconds between AMQP heartbeats; 0 turns them off, which hides dead peers"
    )
    window: Positive = Field(
        1000, description="publishes that may wait for their confirm at the same time"
    )

    @field_validator("type", mode="before")
    @classmethod
    def _refuse_redis(cls, value: Any) -> Any:
        if value == "redis":
            raise ValueError(
                "Redis does not carry messages here (it keeps state and results); "
                "set broker.type to rabbitmq, or to memory for one process without servers"
            )
        return value

    @model_validator(mode="after")
    def _check_url(self) -> BrokerSettings:
        if self.type == "rabbitmq" and not all(
            url.startswith(("amqp://", "amqps://")) for url in self.urls
        ):
            raise ValueError(
                f"the url {mask(self.url)!r} is not an address of RabbitMQ: "
                "it must begin with amqp:// or amqps://"
            )
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """One address a host, in the order to try them; with passwords."""
        return split_urls(self.url)


class ResultBackendSettings(Section):
    """What remembers states, progress and results."""

    type: Literal["redis", "memory"] = Field(
        "redis",
        description="redis, or memory: this process alone (the default with a memory broker)",
    )
    url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="address of Redis: redis://, rediss:// or unix://",
    )
    expires: Seconds = Field(3600, description="seconds that a result is kept, unless a task says")
    max_result_size: Bytes = Field(
        256 * 1024, description="bytes; a larger result fails its task with ResultTooLarge"
    )

    @model_validator(mode="after")
    def _check_url(self) -> ResultBackendSettings:
        if self.type == "redis" and not self.url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(
                f"the url {mask(self.url)!r} is not an address of Redis: "
                "it must begin with redis://, rediss:// or unix://"
            )
        return self


class QueueSettings(Section):
    """One queue: what it is made of."""

    type: Literal["classic", "quorum"] = Field(
        "classic", description="classic, or quorum: replicated over the cluster's nodes"
    )
    priorities: int = Field(
        9, ge=0, le=9, description="priority levels of a classic queue, 0..9; fewer are faster"
    )

    @model_validator(mode="after")
    def _check_levels(self) -> QueueSettings:
        if self.type == "quorum" and "priorities" in self.model_fields_set:
            raise ValueError(
                "a quorum queue has no priority levels to choose (RabbitMQ fixes them); "
                "leave priorities out, or use type: classic"
            )
        return self

    @property
    def is_quorum(self) -> bool:
        """Whether this is a quorum queue."""
        return self.type == "quorum"


class WorkerDefaults(Section):
    """What holds for every worker whose own entry says nothing else."""

    default_concurrency: Positive = Field(4, description="tasks at once in one worker")
    prefetch_multiplier: Positive | None = Field(
        None, description="messages taken ahead, as a multiple of concurrency; unset is 1"
    )
    max_tasks_per_child: Positive | None = Field(
        None, description="tasks after which a process is replaced; unset is never"
    )
    max_memory_per_child: Bytes | None = Field(
        None, description="memory, such as 512MB, past which a process is replaced; unset is never"
    )


class RetrySettings(Section):
    """What holds for every task that says nothing else."""

    max_retries: Count = Field(3, description="retries after the first run")
    default_retry_delay: Seconds = Field(60, description="seconds before the first retry")
    retry_backoff: bool = Field(True, description="double the delay with each retry")
    retry_backoff_max: Seconds = Field(600, description="seconds; no delay grows past it")
    retry_jitter: bool = Field(
        False, description="draw each delay from 0 to its length, so that a crowd spreads out"
    )


class LoggingSettings(Section):
    """How log lines look."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="DEBUG, INFO, WARNING, ERROR or CRITICAL"
    )
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, json elsewhere"
    )

    @field_validator("level", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


class FlowerSettings(Section):
    """The web server: `cifra flower start`, and beside `cifra worker start --all` if enabled."""

    enabled: bool = Field(False, description="`cifra worker start --all` serves it too")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: Port = Field(5555, description="port to listen on")
    public_status: bool = Field(
        False, description="anybody who knows a task's id may read its status, result and error"
    )
    allowed_origins: list[str] = Field(
        [], description="origins of web pages that may read a public status; '*' is any"
    )

    @model_validator(mode="after")
    def _check_origins(self) -> FlowerSettings:
        if self.allowed_origins and not self.public_status:
            raise ValueError("allowed_origins says who may read a public status: set public_status")
        return self


class MetricsSettings(Section):
    """Figures for Prometheus."""

    enabled: bool = Field(False, description="serve /metrics, one port for a whole worker")
    prometheus_port: Port = Field(9090, description="port to listen on")


class MonitoringSettings(Section):
    """What shows how things go."""

    flower: FlowerSettings = FlowerSettings()
    metrics: MetricsSettings = MetricsSettings()


class ProbeSettings(Section):
    """Health checks of a worker over HTTP: /healthz and /readyz."""

    host: str = Field(
        "127.0.0.1", description="address of the probe and metrics ports; 0.0.0.0 in a container"
    )
    port: Port | None = Field(None, description="port to listen on; unset is no probes")
