"""Modules of tasks as a worker would import them, anew for each test's app."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

_NUMBERS = itertools.count(1)
_HERE = Path(__file__).parent


def import_anew(path: str, **present: Any) -> Any:
    """Import a file of this folder under a name of its own.

    Args:
        path: such as ``modules/free_self.py``.
        **present: names that its code finds in the module before it runs.
    """
    file = _HERE / path
    name = f"contract_{file.stem}_{next(_NUMBERS)}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    vars(module).update(present)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def logged_calls(fn: Any) -> Any:
    """A decorator of somebody else's: a wrapper of another module around the function."""

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await fn(*args, **kwargs)

    return wrapper
