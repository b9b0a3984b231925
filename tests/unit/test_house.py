"""The habits of the house that no linter knows. `make arch` checks the floors, `make house` shows
sizes.
"""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import cifra_jobs

#: What users may lean on, with signatures; written by running this file.
SNAPSHOT = Path(__file__).with_name("public_api.txt")


def module_names() -> list[str]:
    found = pkgutil.walk_packages(cifra_jobs.__path__, "cifra_jobs.")
    return [
        "cifra_jobs",
        *(module.name for module in found if not module.name.endswith("__main__")),
    ]


def exports(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name in getattr(module, "__all__", ()):
        yield name, getattr(module, name)


def is_described(value: object) -> bool:
    """Plain values say what they are where they are made; our classes and functions say it here."""
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return True
    if not value.__module__.startswith("cifra_jobs"):
        return True
    return bool((value.__doc__ or "").strip())


def describe(name: str, value: object) -> list[str]:
    """A name with its signature, and for a class its public members with theirs."""
    lines = [f"{name}{signature(value)}"]
    if inspect.isclass(value) and value.__module__.startswith("cifra_jobs"):
        members = {
            member: found
            for base in reversed(value.__mro__)
            if base.__module__.startswith("cifra_jobs")
            for member, found in vars(base).items()
            if not member.startswith("_")
        }
        lines += [f"    .{member}{signature(found)}" for member, found in sorted(members.items())]
    return lines


def signature(value: object) -> str:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if not callable(value):
        return ""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return "(…)"
    # Annotations are mypy's business; names, order and defaults are what calls lean on.
    bare = [
        parameter.replace(annotation=parameter.empty) for parameter in found.parameters.values()
    ]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def public_api() -> str:
    lines = [line for name, value in sorted(exports(cifra_jobs)) for line in describe(name, value)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", module_names())
def test_no_module_hides_the_standard_library_or_what_it_exports(name: str) -> None:
    own = name.rpartition(".")[2]
    if "." in name:
        assert own not in sys.stdlib_module_names, f"{name} has the name of a standard module"
    values = dict(exports(importlib.import_module(name)))
    assert not callable(values.get(own)), f"{name} exports a callable of its own name"


@pytest.mark.parametrize("name", module_names())
def test_every_exported_name_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    silent = [export for export, value in exports(module) if not is_described(value)]
    assert not silent, f"{name}: no docstring on {', '.join(silent)}"


def test_the_public_api_is_what_the_snapshot_says() -> None:
    assert public_api() == SNAPSHOT.read_text(), (
        "The public API changed. If that is meant, say so in CHANGELOG.md and run "
        f"python {SNAPSHOT.parent.name}/{Path(__file__).name} to write the snapshot."
    )


if __name__ == "__main__":
    SNAPSHOT.write_text(public_api())
