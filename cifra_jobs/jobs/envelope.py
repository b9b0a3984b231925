"""What a call's options become in the envelope of its message; see ``jobs/message.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dramatiq

from cifra_jobs.errors import OptionError
from cifra_jobs.jobs.message import new_id
from cifra_jobs.jobs.moments import eta_of, expiry_of
from cifra_jobs.jobs.options import OPTIONS
from cifra_jobs.jobs.signatures import Signature

__all__ = ["id_of", "wire_options"]

#: Bytes, of ids and names of headers; AMQP carries 255.
_LONGEST = 128


def wire_options(
    keywords: Mapping[str, Any], overrides: dict[str, Any], *, expires: Any, now: int
) -> dict[str, Any]:
    """The options of a message.

    Args:
        keywords: of the call: ``countdown``, ``eta``, ``headers``, ``link``, ``link_error``.
        overrides: canonical task options of the call, without ``queue`` and ``expires``.
        expires: as a user writes it, or ``None``.
        now: ms since the epoch.

    Raises:
        OptionError: a bad keyword.
    """
    # What a Dramatiq middleware calls its own is read from the message itself.
    on_wire = {name: overrides.pop(name) for name in overrides.keys() - OPTIONS.keys()}
    if overrides:
        on_wire["set"] = overrides
    if expires is not None:
        on_wire["expires_at"] = expiry_of(expires, now)
    if not keywords:
        return on_wire
    eta = eta_of(keywords.get("countdown"), keywords.get("eta"), now)
    if eta is not None and eta > now:
        on_wire["eta"] = eta
    for name in ("link", "link_error"):
        if keywords.get(name):
            links = keywords[name]
            several = links if isinstance(links, list | tuple) else [links]
            on_wire[name] = [_as_dict(link) for link in several]
    if keywords.get("headers"):
        on_wire["headers"] = _headers_of(keywords["headers"])
    return on_wire


def id_of(keywords: Mapping[str, Any]) -> str:
    """The id that a call asks for, else a new one."""
    task_id = keywords.get("task_id")
    if task_id is None:
        return new_id()
    is_fit = isinstance(task_id, str) and task_id.isprintable()
    if not is_fit or not 0 < len(task_id.encode()) <= _LONGEST:
        raise OptionError(f"task_id={task_id!r} must be 1 to {_LONGEST} bytes of printable text")
    return str(task_id)


def _headers_of(headers: Any) -> dict[str, Any]:
    if not isinstance(headers, Mapping) or not all(_is_header(name) for name in headers):
        raise OptionError(f"headers={headers!r} must be a dict with short names for keys")
    return dict(headers)


def _is_header(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name.encode()) <= _LONGEST


def _as_dict(link: Any) -> dict[str, Any]:
    if isinstance(link, dict) and link.keys() >= {"task", "args", "kwargs"}:
        return link
    if isinstance(link, dramatiq.Actor):
        return Signature(link.actor_name).to_dict()
    if not isinstance(link, Signature):
        raise OptionError(f"link and link_error take signatures, such as t.s(), not {link!r}")
    return link.to_dict()
