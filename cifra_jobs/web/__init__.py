"""The HTTP door: an ASGI application to mount in a service of one's own, or to serve alone."""

from cifra_jobs.web.application import app

__all__ = ["app"]
