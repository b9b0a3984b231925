"""Checks that data files parse and that text files end in exactly one newline."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import yaml


def _yaml(text: str) -> None:
    for _ in yaml.safe_load_all(text):
        pass


PARSERS: dict[str, Callable[[str], object]] = {
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
}
TEXT = {
    *PARSERS,
    ".cfg",
    ".conf",
    ".css",
    ".html",
    ".js",
    ".lua",
    ".md",
    ".py",
    ".service",
    ".sh",
    ".txt",
}


def problem(path: Path) -> str | None:
    """What is wrong with a file, or ``None``.

    Args:
        path: the file; other kinds than text and data are right.
    """
    if path.suffix not in TEXT or not path.is_file():
        return None
    text = path.read_text()
    parse = PARSERS.get(path.suffix)
    if parse is not None:
        try:
            parse(text)
        except (ValueError, yaml.YAMLError) as error:
            return f"does not parse: {error}"
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        return "does not end in exactly one newline."
    return None


def main(arguments: list[str]) -> int:
    """Check files; print what is wrong.

    Args:
        arguments: their paths.

    Returns:
        0 when all are right, else 1.
    """
    found = [(path, problem(Path(path))) for path in arguments]
    for path, what in found:
        if what:
            print(f"{path}: {what}", file=sys.stderr)
    return int(any(what for _, what in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
