"""Looks into a wheel: the right packages, the data they need, and nothing else."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

#: What the wheel may hold at its top, beside its own metadata.
PACKAGES = {"cifra", "cifra_jobs"}
REQUIRED = {"cifra/tasks.py", "cifra_jobs/__init__.py", "cifra_jobs/py.typed"}
FORBIDDEN = {"cifra/__init__.py"}


def problems(wheel: Path, source: Path) -> list[str]:
    """What is wrong with a wheel, as sentences.

    Args:
        wheel: the file.
        source: the checkout that it was built from.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    lua = {str(path.relative_to(source)) for path in source.glob("cifra_jobs/store/lua/*.lua")}
    web = {
        str(path.relative_to(source))
        for folder in ("static", "templates")
        for path in source.glob(f"cifra_jobs/web/{folder}/*")
        if path.is_file()
    }
    modules = {str(path.relative_to(source)) for path in source.glob("cifra_jobs/**/*.py")}
    tops = {name.split("/")[0] for name in names}
    return [
        *(f"{name} is missing." for name in sorted((REQUIRED | lua | web | modules) - names)),
        *(f"{name} must not be in it." for name in sorted(FORBIDDEN & names)),
        *(f"{top} is no package of ours." for top in sorted(tops - PACKAGES)),
    ]


def main(arguments: list[str]) -> int:
    """Check wheels; print what is wrong.

    Args:
        arguments: their paths.

    Returns:
        0 when all are right, else 1.
    """
    code = 0
    for argument in arguments:
        found = problems(Path(argument), Path.cwd())
        for problem in found:
            print(f"{argument}: {problem}", file=sys.stderr)
        code = code or int(bool(found))
        if not found:
            print(f"{argument}: holds {', '.join(sorted(PACKAGES))} and their data, nothing else.")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
