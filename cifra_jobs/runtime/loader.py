"""Which modules of tasks a process imports, and what it says when one of them cannot be.

Asked in this order, the first that names anything wins: ``--include``, ``CIFRA_INCLUDE`` and
``include:`` (both by way of the settings), a package ``workers`` in the working directory.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from cifra_jobs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DEFAULT_PACKAGE", "import_tasks", "modules_to_import"]

#: The package that is looked for when nobody names a module.
DEFAULT_PACKAGE = "workers"

_OURS = Path(__file__).parents[1]


def modules_to_import(include: Sequence[str], configured: Sequence[str]) -> list[str]:
    """Choose the modules of tasks.

    Args:
        include: what the command line named.
        configured: ``include:`` of the settings, in which ``CIFRA_INCLUDE`` has its say.

    Raises:
        ConfigError: nobody names a module and there is no package ``workers`` here.
    """
    _see_working_directory()
    named = list(dict.fromkeys(include or configured))
    if named:
        return named
    if (Path.cwd() / DEFAULT_PACKAGE / "__init__.py").is_file():
        return [DEFAULT_PACKAGE]
    raise ConfigError(
        "No module of tasks is named. Name one with `--include MODULE`, with CIFRA_INCLUDE, with "
        f"`include: [MODULE]` in the configuration, or put a package `{DEFAULT_PACKAGE}` with an "
        f"__init__.py into the working directory ({Path.cwd()})."
    )


def import_tasks(modules: Iterable[str]) -> list[str]:
    """Import modules, so that their tasks are declared.

    A package that imports none of its own modules has all of them imported, except those called
    ``__main__``; one that does has made its choice.

    Returns:
        The names of what was imported, in order.

    Raises:
        ConfigError: one of them cannot be imported; the message has the place and the cause.
    """
    _see_working_directory()
    done: list[str] = []
    for name in modules:
        done.append(_import(name))
        done += [_import(each) for each in _modules_left_to_us(name)]
    return done


def _see_working_directory() -> None:
    """Put the working directory first on the path, as ``python -m`` does."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
        importlib.invalidate_caches()


def _modules_left_to_us(package: str) -> list[str]:
    path = getattr(sys.modules[package], "__path__", None)
    prefix = f"{package}."
    if path is None or any(name.startswith(prefix) for name in sys.modules):
        return []
    return [
        each.name
        for each in pkgutil.iter_modules(path, prefix)
        if not each.name.endswith(".__main__")
    ]


def _import(name: str) -> str:
    if not name or name.startswith(".") or "/" in name:
        raise ConfigError(_not_found(name, name))
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(_not_found(name, error.name)) from error
        raise ConfigError(_failed(name, error)) from error
    except SystemExit as error:
        raise ConfigError(
            f"The module of tasks {name} ends the program while it is imported (sys.exit): guard "
            "it with `if __name__ == '__main__':`."
        ) from error
    except Exception as error:  # any module may raise anything; the reader gets its place
        raise ConfigError(_failed(name, error)) from error
    return name


def _not_found(name: str, missing: str) -> str:
    here = Path.cwd()
    beside = [
        each.stem
        for each in sorted(here.iterdir())
        if each.suffix == ".py" or (each / "__init__.py").is_file()
    ]
    near = difflib.get_close_matches(name.split(".", maxsplit=1)[0], beside, n=1)
    hint = f" Did you mean {near[0]}?" if near and near[0] != missing else ""
    inside = f": {missing} does not exist" if missing != name else ""
    return (
        f"No module of tasks {name or repr(name)}{inside}. Looked in {here} and on the Python path;"
        f" give a dotted name such as `myapp.tasks`, not a file.{hint}"
    )


def _failed(name: str, error: BaseException) -> str:
    # Its text would repeat the place, without the folder.
    what = (error.msg if isinstance(error, SyntaxError) else str(error)).splitlines()
    cause = f"{type(error).__name__}: {what[0]}" if what else type(error).__name__
    return f"The module of tasks {name} cannot be imported: {cause} (at {_place(error)})."


def _place(error: BaseException) -> str:
    """``file:line`` of the last line outside the import machinery, and of the reader's own code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    # A refused option is raised in our own files: nothing is wrong there.
    frames = [frame for frame in frames if not _is_ours(frame.filename)] or frames
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


def _is_ours(file: str) -> bool:
    return Path(file).is_relative_to(_OURS)
