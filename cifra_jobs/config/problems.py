"""Turns what pydantic found wrong into sentences: path, value, nearest name."""

from __future__ import annotations

import difflib
import types
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from cifra_jobs.config.addresses import mask
from cifra_jobs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

__all__ = ["config_error", "model_of", "nearest", "setting_fields"]

#: A value is shown up to so many characters.
_SHOWN = 80


def nearest(name: str, names: Iterable[str], likeness: float = 0.6) -> str | None:
    """The name that was probably meant, or ``None`` if none is as like as ``likeness`` (0..1)."""
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=likeness)
    return found[0] if found else None


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The settings model behind a field's annotation: itself, or the values of its mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in {Union, types.UnionType, dict}:
        for part in get_args(annotation):
            if (model := model_of(part)) is not None:
                return model
    return None


def setting_fields(
    model: type[BaseModel], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Every setting with its path; a free key (a queue's name, a task's) is ``NAME``."""
    for name, field in model.model_fields.items():
        here = (*path, name)
        inner = model_of(field.annotation)
        if inner is None:
            yield here, field
        elif get_origin(field.annotation) is dict:
            yield from setting_fields(inner, (*here, "NAME"))
        else:
            yield from setting_fields(inner, here)


def config_error(
    error: ValidationError,
    model: type[BaseModel],
    *,
    root: str = "",
    origins: Mapping[tuple[str, ...], str] | None = None,
) -> ConfigError:
    """One sentence for each thing that is wrong, each on a line of its own.

    Args:
        error: what pydantic found.
        model: the settings it was checking.
        root: what stands before every path, such as ``workers``.
        origins: where values came from (environment variables, files), by path.
    """
    lines = [_sentence(item, model, root, origins or {}) for item in error.errors()]
    return ConfigError("\n".join(dict.fromkeys(lines)))


def _sentence(
    item: ErrorDetails,
    model: type[BaseModel],
    root: str,
    origins: Mapping[tuple[str, ...], str],
) -> str:
    path = tuple(str(part) for part in item["loc"])
    dotted = ".".join((root, *path) if root else path) or root or "settings"
    origin = next((text for key, text in origins.items() if path[: len(key)] == key), "")
    # What is wrong with a whole section came with its parts.
    origin = origin or ", ".join(
        dict.fromkeys(text for key, text in origins.items() if path and key[: len(path)] == path)
    )
    place = f"{dotted} (from {origin})" if origin else dotted
    if item["type"] == "extra_forbidden":
        return f"{place}: there is no such setting{_instead(path, model)}"
    if item["type"] == "missing":
        return f"{place}: it is required"
    if item["type"] == "frozen_instance":
        return f"{place}: settings do not change once they are made; make new ones"
    problem = item["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
    if item["type"] == "literal_error":
        choices = [part.strip("'") for part in str(item["ctx"]["expected"]).split(" or ")]
        choices = [part.strip().strip("'") for choice in choices for part in choice.split(", ")]
        guess = nearest(str(item["input"]), choices)
        problem = f"it must be one of {', '.join(choices)}"
        problem += f"; did you mean {guess!r}?" if guess else ""
    if not path:
        return problem
    return f"{place} = {_shown(item['input'])}: {problem[:1].lower()}{problem[1:]}"


def _shown(value: Any) -> str:
    text = repr(mask(value))
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _instead(path: tuple[str, ...], model: type[BaseModel]) -> str:
    """What to write instead of an unknown name: a neighbor, else the same name elsewhere."""
    *parents, name = path
    container: type[BaseModel] | None = model
    for part in parents:
        if container is not None and (field := container.model_fields.get(part)) is not None:
            container = model_of(field.annotation)
    neighbors = list((container or model).model_fields)
    if guess := nearest(name, neighbors):
        return f"; did you mean {guess!r}?"
    everywhere = {keys[-1]: ".".join(keys) for keys, _ in setting_fields(model)}
    if guess := nearest(name, everywhere):
        return f"; did you mean {everywhere[guess]!r}?"
    return f"; valid here: {', '.join(sorted(neighbors))}"
