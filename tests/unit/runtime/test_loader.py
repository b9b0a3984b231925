from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifra_jobs.errors import ConfigError
from cifra_jobs.runtime.loader import import_tasks, modules_to_import


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = {name: module for name, module in sys.modules.items() if name.startswith("workers")}
    for name in before:
        del sys.modules[name]
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if name.split(".")[0] in {"shop", "shops", "workers"}:
            del sys.modules[name]
    sys.modules.update(before)


def _write(path: str, text: str = "") -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_command_line_wins_over_the_settings() -> None:
    assert modules_to_import(["a", "b", "a"], ["c"]) == ["a", "b"]


def test_the_settings_win_over_a_package_workers() -> None:
    _write("workers/__init__.py")
    assert modules_to_import([], ["c"]) == ["c"]


def test_a_package_workers_is_taken_when_nobody_names_a_module() -> None:
    _write("workers/__init__.py")
    assert modules_to_import([], []) == ["workers"]


def test_with_nothing_named_and_no_package_the_error_lists_the_places() -> None:
    with pytest.raises(ConfigError) as caught:
        modules_to_import([], [])
    for place in ("--include", "CIFRA_INCLUDE", "include:", "workers"):
        assert place in str(caught.value)


def test_all_modules_of_a_package_that_imports_none_are_imported() -> None:
    _write("workers/__init__.py")
    _write("workers/mail.py")
    _write("workers/__main__.py", "raise RuntimeError('not to be run')")
    assert import_tasks(["workers"]) == ["workers", "workers.mail"]


def test_a_package_that_imports_its_modules_has_made_its_choice() -> None:
    _write("workers/__init__.py", "from workers import mail\n")
    _write("workers/mail.py")
    _write("workers/heavy.py", "raise RuntimeError('too heavy')")
    assert import_tasks(["workers"]) == ["workers"]
    assert "workers.mail" in sys.modules


def test_a_missing_module_is_named_with_the_nearest_one() -> None:
    _write("shops.py")
    with pytest.raises(ConfigError, match=r"No module of tasks shop\b.*Did you mean shops\?"):
        import_tasks(["shop"])


def test_an_error_inside_a_module_is_told_with_its_line_and_cause() -> None:
    _write("shop.py", "import os\n\nprice = 1 / 0\n")
    with pytest.raises(
        ConfigError, match=r"shop cannot be imported: ZeroDivisionError.*shop\.py:3"
    ):
        import_tasks(["shop"])


def test_a_syntax_error_is_told_with_its_line() -> None:
    _write("shop.py", "def sell(:\n")
    with pytest.raises(ConfigError, match=r"SyntaxError.*shop\.py:1"):
        import_tasks(["shop"])


def test_a_missing_import_inside_a_module_is_not_taken_for_a_missing_module() -> None:
    _write("shop.py", "import no_such_thing\n")
    with pytest.raises(
        ConfigError, match=r"shop cannot be imported: ModuleNotFoundError.*shop\.py:1"
    ):
        import_tasks(["shop"])


def test_a_module_that_exits_is_an_error() -> None:
    _write("shop.py", "raise SystemExit(3)\n")
    with pytest.raises(ConfigError, match=r"sys\.exit"):
        import_tasks(["shop"])


def test_a_refused_option_is_told_with_the_line_of_the_task() -> None:
    _write("shop.py", "from cifra_jobs import task\n\n@task(retri=3)\ndef sell() -> None: ...\n")
    with pytest.raises(ConfigError, match=r"unknown option 'retri'.*/shop\.py:3\)"):
        import_tasks(["shop"])


@pytest.mark.parametrize("name", ["", "./shop", "shop/sell.py", ".shop"])
def test_what_is_no_name_of_a_module_is_told_what_one_looks_like(name: str) -> None:
    with pytest.raises(ConfigError, match=r"give a dotted name such as `myapp\.tasks`"):
        import_tasks([name])
