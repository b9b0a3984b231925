"""Settings: YAML, environment and keywords in; frozen, validated models out."""

from cifra_jobs.config.addresses import mask
from cifra_jobs.config.problems import nearest, setting_fields
from cifra_jobs.config.sections import (
    BrokerSettings,
    FlowerSettings,
    LoggingSettings,
    MetricsSettings,
    MonitoringSettings,
    ProbeSettings,
    QueueSettings,
    ResultBackendSettings,
    RetrySettings,
    WorkerDefaults,
)
from cifra_jobs.config.settings import Settings
from cifra_jobs.config.worker_file import WorkerEntry, WorkerFile

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
    "Settings",
    "WorkerDefaults",
    "WorkerEntry",
    "WorkerFile",
    "mask",
    "nearest",
    "setting_fields",
]
