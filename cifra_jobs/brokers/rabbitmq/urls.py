"""Broker addresses: several hosts in one URL, and what may be shown of one."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["describe", "split_urls"]


def split_urls(url: str) -> list[str]:
    """One URL for each host.

    Both ways of naming several are read: ``amqp://user:pw@one:5672,two:5672/vhost`` and
    ``amqp://one/,amqp://two/``.

    Raises:
        ValueError: it is not an ``amqp://`` or ``amqps://`` URL.
    """
    urls: list[str] = []
    for part in url.split(","):
        text = part.strip()
        if "://" in text or not urls:
            urls.append(text)
        else:
            urls[-1] += f",{text}"
    return [single for each in urls for single in _split_hosts(each)]


def _split_hosts(url: str) -> list[str]:
    scheme, _, rest = url.partition("://")
    if scheme not in ("amqp", "amqps") or not rest:
        raise ValueError(
            f"a broker URL looks like amqp://user:password@host:5672/vhost (or amqps://…), "
            f"not {url.rpartition('@')[2]!r}"
        )
    cut = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    netloc, tail = rest[:cut], rest[cut:]
    login, at, hosts = netloc.rpartition("@")
    return [f"{scheme}://{login}{at}{host}{tail}" for host in hosts.split(",")]


def describe(url: str) -> str:
    """Host, port and virtual host, without the password: fit for logs and messages."""
    parts = urlsplit(url)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    return f"{parts.hostname or 'localhost'}:{port}{parts.path if parts.path != '/' else ''}"
