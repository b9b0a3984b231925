"""Passwords in addresses: real by attribute, masked wherever settings are shown."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["mask", "split_urls"]

#: user:password@ after a scheme, or at the start of one of several hosts. The password may hold
#: anything up to the last @ before a slash, since people forget to percent-encode.
_USERINFO = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^:@/\s,]*):[^\s/]*@", re.IGNORECASE)
#: The same, for a password with a raw slash in it.
_SLASHED = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^:@/\s,]*):[^\s@,]*@", re.IGNORECASE)
_QUERY = re.compile(r"(?P<before>[?&](?:password|token|secret)=)[^&\s]+", re.IGNORECASE)
_NEXT_URL = re.compile(r",\s*(?=[a-z][a-z0-9+.-]*://)", re.IGNORECASE)


def mask(value: Any) -> Any:
    """The value with every password in an address replaced by ``***``; also inside containers."""
    if isinstance(value, str):
        if "://" not in value:
            return value
        text = _SLASHED.sub(r"\g<before>:***@", _USERINFO.sub(r"\g<before>:***@", value))
        return _QUERY.sub(r"\g<before>***", text)
    if isinstance(value, dict):
        return {key: mask(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        masked = [mask(item) for item in value]
        # A named tuple takes its fields one by one.
        return type(value)(*masked) if hasattr(value, "_fields") else type(value)(masked)
    return value


def split_urls(url: str) -> tuple[str, ...]:
    """One address a server, from addresses or hosts joined by commas.

    ``amqp://u:p@a,b:5673/x`` and ``amqp://u:p@a/x,amqp://u:p@b:5673/x`` mean the same.
    """
    urls: list[str] = []
    for piece in _NEXT_URL.split(url):
        scheme, mark, rest = piece.strip().partition("://")
        authority, slash, path = rest.partition("/")
        user, at, hosts = authority.rpartition("@")
        urls += [
            f"{scheme}{mark}{user}{at}{host.strip()}{slash}{path}" for host in hosts.split(",")
        ]
    return tuple(urls)
