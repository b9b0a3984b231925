"""Fitting a call to a function's signature, at C speed, and finding ``self`` in a body."""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING, Any

from cifra_jobs.errors import ArgumentError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType

__all__ = ["call_checker", "check_names", "is_self_first", "reads_free_self"]

_MARK = {
    inspect.Parameter.POSITIONAL_ONLY: "",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "",
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.KEYWORD_ONLY: "",
    inspect.Parameter.VAR_KEYWORD: "**",
}


def call_checker(
    fn: Callable[..., Any], name: str, *, skip_first: bool
) -> Callable[[tuple[Any, ...], dict[str, Any]], None]:
    """A function that raises `ArgumentError` when arguments do not fit ``fn``.

    An empty function of the same parameters is compiled once and called: the interpreter then
    checks a call in a tenth of the time that ``inspect.Signature.bind`` takes.
    """
    signature = inspect.signature(fn)
    parameters = list(signature.parameters.values())[1 if skip_first else 0 :]
    probe = _compiled_probe(parameters)

    def check(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            probe(*args, **kwargs)
        except TypeError as error:
            problem = str(error).removeprefix("probe() ")
            shown = inspect.Signature(parameters)
            raise ArgumentError(f"{name}{shown} cannot be called so: {problem}") from None

    return check


def _compiled_probe(parameters: list[inspect.Parameter]) -> Callable[..., None]:
    parts: list[str] = []
    kinds = [parameter.kind for parameter in parameters]
    for i, parameter in enumerate(parameters):
        is_first_keyword = parameter.kind is inspect.Parameter.KEYWORD_ONLY and (
            i == 0
            or kinds[i - 1]
            not in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_POSITIONAL)
        )
        if is_first_keyword:
            parts.append("*")
        default = "" if parameter.default is inspect.Parameter.empty else "=None"
        parts.append(f"{_MARK[parameter.kind]}{parameter.name}{default}")
        is_last_positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY and (
            i + 1 == len(kinds) or kinds[i + 1] is not inspect.Parameter.POSITIONAL_ONLY
        )
        if is_last_positional:
            parts.append("/")
    scope: dict[str, Any] = {}
    # Only identifiers of an existing signature get in; no value of a user does.
    exec(f"def probe({', '.join(parts)}): pass", scope)  # noqa: S102
    probe: Callable[..., None] = scope["probe"]
    return probe


def check_names(fn: Callable[..., Any], names: Iterable[str], owner: str) -> None:
    """Refuse names of arguments that ``fn`` does not take.

    Raises:
        OptionError: with the nearest name; a misspelt name would hide nothing.
    """
    parameters = inspect.signature(fn).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return
    for name in names:
        if name not in parameters:
            near = difflib.get_close_matches(name, parameters, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(parameters)}"
            raise OptionError(f"{owner} names {name!r}, which is no argument; {hint}")


def is_self_first(fn: Callable[..., Any]) -> bool:
    """Whether the first parameter is called ``self``."""
    parameters = list(inspect.signature(fn).parameters)
    return bool(parameters) and parameters[0] == "self"


def reads_free_self(fn: Callable[..., Any]) -> bool:
    """Whether the body says ``self`` without declaring it, in a module that defines none."""
    code = getattr(fn, "__code__", None)
    module_globals = getattr(fn, "__globals__", None)
    if code is None or module_globals is None or "self" in module_globals:
        return False
    return _reads_global(code, "self")


def _reads_global(code: CodeType, name: str) -> bool:
    if name in code.co_varnames or name in code.co_cellvars:
        return False
    if name in code.co_names and name not in code.co_freevars:
        return True
    return any(_reads_global(part, name) for part in code.co_consts if inspect.iscode(part))
