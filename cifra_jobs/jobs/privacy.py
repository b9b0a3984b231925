"""Option ``sensitive``: arguments that logs, dead letters and views must not show.

The body of a message holds them, as the worker needs them; whatever is told about a run is masked.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["MASK", "Veil", "hidden_places", "masked", "values_at"]

MASK = "***"

#: Characters; a shorter value is masked as a whole word only, or half of a text would go.
_WORD = 4


def hidden_places(
    fn: Callable[..., Any], names: Iterable[str], *, skip_first: bool
) -> tuple[str, ...]:
    """Where the named arguments stand in a call.

    ``password`` by keyword, ``1`` by position, ``2+`` from a position on, ``**`` any keyword.
    """
    parameters = list(inspect.signature(fn).parameters.values())[1 if skip_first else 0 :]
    places: list[str] = []
    for name in names:
        places.append(name)
        for i, parameter in enumerate(parameters):
            if parameter.name == name:
                places += _position(i, parameter)
    return tuple(places)


def _position(i: int, parameter: inspect.Parameter) -> list[str]:
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return [f"{i}+"]
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return ["**"]
    return [] if parameter.kind is inspect.Parameter.KEYWORD_ONLY else [str(i)]


def masked(
    args: Sequence[Any], kwargs: Mapping[str, Any], places: Iterable[str]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call, with `MASK` in these places."""
    hidden = set(places)
    first = min((int(place[:-1]) for place in hidden if place.endswith("+")), default=len(args))
    shown = [MASK if i >= first or str(i) in hidden else value for i, value in enumerate(args)]
    named = {
        name: MASK if name in hidden or "**" in hidden else value for name, value in kwargs.items()
    }
    return shown, named


def values_at(args: Sequence[Any], kwargs: Mapping[str, Any], places: Iterable[str]) -> list[Any]:
    """The values in these places."""
    shown, named = masked(args, kwargs, places)
    found = [value for value, kept in zip(args, shown, strict=True) if kept is MASK]
    return found + [kwargs[name] for name, kept in named.items() if kept is MASK]


class Veil:
    """Masks values wherever they occur in a text.

    Args:
        values: what must not be shown.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        texts = {text for value in values for text in _texts_of(value)}
        parts = [
            re.escape(text) if len(text) >= _WORD else rf"(?<!\w){re.escape(text)}(?!\w)"
            for text in sorted(texts, key=len, reverse=True)
        ]
        self._pattern = re.compile("|".join(parts)) if parts else None

    def text(self, text: str) -> str:
        """The text, masked."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def json(self, value: Any) -> Any:
        """A JSON value with all its texts masked."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.json(item) for item in value]
        if isinstance(value, dict):
            return {name: self.json(item) for name, item in value.items()}
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return MASK if is_number and self.text(str(value)) != str(value) else value


def _texts_of(value: Any) -> Iterator[str]:
    """How a value may look in a message of an exception."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, dict):
        for item in value.values():
            yield from _texts_of(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from _texts_of(item)
    elif isinstance(value, str | bytes):
        text = value if isinstance(value, str) else value.decode(errors="replace")
        in_json = json.dumps(text)[1:-1]
        in_repr = repr(value).lstrip("b")[1:-1]
        quoted = {form.replace(q, f"\\{q}") for form in (text, in_repr) for q in "'\""}
        yield from filter(None, {text, in_repr, in_json, *quoted})
    else:
        yield from filter(None, {str(value), repr(value)})
