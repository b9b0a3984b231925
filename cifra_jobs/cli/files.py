"""Which file is meant: ``--config`` may name the settings, the workers, or a file with both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifra_jobs.cli.groups import config_path
from cifra_jobs.config import Settings, WorkerFile
from cifra_jobs.config.sources import load_yaml
from cifra_jobs.jobs.options import check_settings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["settings_from", "worker_file", "worker_file_if_any"]


def settings_from(config: Path | None, **overrides: Any) -> Settings:
    """The settings; a file that holds workers alone leaves them to the customary places."""
    path = config_path(config)
    if path is not None and "workers" in (found := load_yaml(path)):
        path = path if "background_jobs" in found else None
    settings = Settings(path, **overrides)
    check_settings(settings)
    return settings


def worker_file(config: Path | None) -> WorkerFile:
    """The worker file: the named one, if it holds workers, else the customary one.

    Raises:
        ConfigError: there is none, or something in it is wrong.
    """
    return WorkerFile.load(_worker_path(config))


def worker_file_if_any(config: Path | None) -> WorkerFile | None:
    """The worker file, or ``None`` where nobody wrote one.

    Raises:
        ConfigError: something in it is wrong.
    """
    path = _worker_path(config) or WorkerFile.find()
    return None if path is None else WorkerFile.load(path)


def _worker_path(config: Path | None) -> Path | None:
    path = config_path(config)
    if path is not None and "background_jobs" in (found := load_yaml(path)):
        return path if "workers" in found else None
    return path
