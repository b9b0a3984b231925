"""Prints the sizes of a package: a mirror, not a gate."""

from __future__ import annotations

import ast
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

LARGEST = 12


class Function(NamedTuple):
    """One function or method.

    Attributes:
        place: file and line.
        name: its own name.
        lines: from ``def`` to its end.
    """

    place: str
    name: str
    lines: int


def functions(path: Path) -> list[Function]:
    """Every function and method of a file.

    Args:
        path: a Python file.
    """
    return [
        Function(f"{path}:{node.lineno}", node.name, (node.end_lineno or 0) - node.lineno + 1)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def main(arguments: list[str]) -> int:
    """Print the mirror.

    Args:
        arguments: the package's folder.

    Returns:
        0.
    """
    root = Path(arguments[0])
    sizes = {path: len(path.read_text().splitlines()) for path in sorted(root.rglob("*.py"))}
    found = [function for path in sizes for function in functions(path)]
    lengths = sorted(sizes.values())
    print(
        f"{len(sizes)} modules, {sum(lengths)} lines, median {statistics.median(lengths):g}, "
        f"p90 {lengths[int(0.9 * (len(lengths) - 1))]}, max {lengths[-1]}; {len(found)} functions"
    )
    folders: Counter[str] = Counter()
    for path, size in sizes.items():
        parts = path.relative_to(root).parts
        folders[parts[0] if len(parts) > 1 else "(root)"] += size
    print("\nlines by folder")
    for folder, size in folders.most_common():
        print(f"  {size:6} {folder}")
    print("\nlargest modules")
    for path, size in sorted(sizes.items(), key=lambda item: -item[1])[:LARGEST]:
        print(f"  {size:6} {path}")
    print("\nlongest functions")
    for function in sorted(found, key=lambda item: -item.lines)[:LARGEST]:
        print(f"  {function.lines:6} {function.name}  {function.place}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
