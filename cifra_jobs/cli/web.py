"""``cifra flower start``: the status of tasks over HTTP."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cifra_jobs.app import App
from cifra_jobs.cli.files import settings_from
from cifra_jobs.cli.groups import LazyGroup, config_option
from cifra_jobs.cli.session import reached
from cifra_jobs.log import configure_logging
from cifra_jobs.runtime.signals import die_with_parent
from cifra_jobs.web import app as web_app
from cifra_jobs.web.server import bind, serve

if TYPE_CHECKING:
    from cifra_jobs.config import FlowerSettings

__all__ = ["flower"]


@click.group(cls=LazyGroup, path=("flower",))
def flower() -> None:
    """Serve the status of tasks over HTTP."""


@flower.command()
@click.option("--host", help="Address to listen on.  [default: monitoring.flower.host]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 is any.  [default: monitoring.flower.port]",
)
@click.option("--fd", type=int, hidden=True, help="A listening socket that is open already.")
@click.option("--parent", type=int, hidden=True, help="End with the process of this id.")
@config_option
def start(
    *,
    host: str | None,
    port: int | None,
    fd: int | None,
    parent: int | None,
    config: Path | None,
) -> None:
    """Serve GET /api/tasks/ID, its events, /healthz, /readyz and a page to follow a task.

    Without `public_status: true` whoever asks must show the token that is printed here.
    """
    if parent is not None and not die_with_parent(parent):
        return
    settings = settings_from(config)
    configure_logging(settings.logging)
    place = settings.monitoring.flower
    listener = (
        socket.socket(fileno=fd)
        if fd is not None
        else bind(host or place.host, place.port if port is None else port)
    )
    app = App(settings)
    app.install()
    try:
        reached(app)
        token = secrets.token_urlsafe(24)
        _announce(listener, token, place)
        serve(
            web_app(
                token=token,
                public_status=place.public_status,
                allowed_origins=place.allowed_origins,
            ),
            listener,
        )
    finally:
        listener.close()
        app.close()


def _announce(listener: socket.socket, token: str, place: FlowerSettings) -> None:
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    # Standard error: whoever collects standard output must not collect tokens.
    click.echo(f"status of tasks: http://{name}:{port}/?token={token}", err=True)
    if place.public_status:
        click.echo("public_status: a task's status is served to whoever knows its id", err=True)
