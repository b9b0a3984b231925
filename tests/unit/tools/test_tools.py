"""The scripts behind the make targets say what is wrong, and nothing when all is right."""

from __future__ import annotations

import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

Tool = Callable[[str], ModuleType]
RIGHT = {"cifra/tasks.py", "cifra_jobs/__init__.py", "cifra_jobs/py.typed"}


def wheel_of(folder: Path, names: set[str]) -> Path:
    path = folder / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in names | {"x-1.dist-info/METADATA"}:
            archive.writestr(name, "")
    return path


def test_a_right_wheel_has_no_problems(tool: Tool, tmp_path: Path) -> None:
    assert tool("check_wheel").problems(wheel_of(tmp_path, RIGHT), tmp_path) == []


def test_a_wheel_without_a_script_of_the_checkout_is_wrong(tool: Tool, tmp_path: Path) -> None:
    script = tmp_path / "cifra_jobs/store/lua/finish.lua"
    script.parent.mkdir(parents=True)
    script.touch()
    found = tool("check_wheel").problems(wheel_of(tmp_path, RIGHT), tmp_path)
    assert found == ["cifra_jobs/store/lua/finish.lua is missing."]


@pytest.mark.parametrize("extra", ["workers/default.py", "cifra/__init__.py", "tests/x.py"])
def test_a_wheel_with_too_much_is_wrong(tool: Tool, tmp_path: Path, extra: str) -> None:
    assert tool("check_wheel").problems(wheel_of(tmp_path, RIGHT | {extra}), tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.json", '{"a": 1}\n', None),
        ("a.json", '{"a": 1,}\n', "does not parse"),
        ("a.toml", "a = \n", "does not parse"),
        ("a.yaml", "a: [1\n", "does not parse"),
        ("a.yaml", "a: 1\n---\nb: 2\n", None),
        ("a.md", "text", "newline"),
        ("a.md", "text\n\n", "newline"),
        ("a.md", "", None),
        ("a.png", "text", None),
    ],
)
def test_tidy_names_what_is_wrong_with_a_file(
    tool: Tool, tmp_path: Path, name: str, text: str, expected: str | None
) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = tool("tidy").problem(path)
    assert found is None if expected is None else expected in found


def test_the_house_mirror_counts_modules_and_functions(
    tool: Tool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text("def f():\n    return 1\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.py").write_text("class A:\n    async def g(self):\n        pass\n")
    assert tool("house").main([str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "2 modules, 5 lines" in shown
    assert "2 functions" in shown


def test_bootstrap_knows_an_interpreter_that_works(tool: Tool, tmp_path: Path) -> None:
    bootstrap = tool("bootstrap")
    assert bootstrap.works(Path(sys.executable))
    assert not bootstrap.works(tmp_path / "bin" / "python")


def test_bootstrap_knows_whether_the_main_job_has_its_packages(tool: Tool, tmp_path: Path) -> None:
    bootstrap = tool("bootstrap")
    venv.create(tmp_path / "bare", with_pip=False)
    assert bootstrap.runs_main_job(Path(sys.executable))
    assert not bootstrap.runs_main_job(tmp_path / "bare" / "bin" / "python")


def test_the_matrix_wants_something_to_run_on(
    tool: Tool, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        tool("matrix").main([])
    assert "--python or --root" in capsys.readouterr().err


def test_a_picture_shows_the_last_state_of_what_was_redrawn(tool: Tool) -> None:
    screen = tool("render_pictures").Screen()
    screen.write("starting\r\nmails 10%\r\norders 0%")
    screen.write("\r\x1b[2K\x1b[1A\x1b[2Kmails \x1b[32m90%\x1b[0m\r\norders 50%")
    assert screen.text == "starting\nmails 90%\norders 50%"


def test_a_picture_breaks_a_long_line_where_a_terminal_does(tool: Tool, tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    tool("render_pictures").draw(path, 10, ("x", ["abcdefghijklm"]))
    drawn = path.read_text()
    assert ">abcdefghij</text>" in drawn
    assert ">klm</text>" in drawn
    assert "http" not in drawn.replace("http://www.w3.org", "").replace("https://www.textual", "")
