"""An application for the length of one command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cifra_jobs.app import App
from cifra_jobs.cli.files import settings_from
from cifra_jobs.errors import ConfigError
from cifra_jobs.log import configure_logging
from cifra_jobs.runtime.loader import import_tasks, modules_to_import

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["opened", "reached"]


@contextmanager
def opened(config: Path | None, *, include: Sequence[str] | None = None) -> Iterator[App]:
    """An application from the configuration, closed at the end.

    Args:
        config: the file named at the command.
        include: modules of tasks named at the command; ``None`` imports no tasks.
    """
    settings = settings_from(config)
    # A command says itself what went wrong, in one sentence; the log would say it again.
    level = "DEBUG" if settings.logging.level == "DEBUG" else "ERROR"
    configure_logging(settings.logging.model_copy(update={"level": level}))
    app = App(settings)
    app.install()
    try:
        if include is not None:
            import_tasks(modules_to_import(include, settings.include))
        yield app
    finally:
        app.close()


def reached(app: App) -> App:
    """The application, if another process can be reached through it.

    Raises:
        ConfigError: it is in memory, which nobody else sees.
    """
    if app.settings.broker.type == "memory":
        raise ConfigError(
            "broker.type is memory, which lives inside one process: from here there is nothing to "
            "see; use `cifra dev --memory`, or set broker.type to rabbitmq"
        )
    return app
