"""Files that are either complete or not there."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

#: What a file made with ``open`` has; temporary files are for their owner alone.
_ORDINARY_MODE = 0o644


@contextmanager
def write_atomically(path: Path) -> Generator[IO[bytes]]:
    """Write beside the target and move into place at the end of the block.

    Two runs of one task, or a run that dies, never leave half a file under the final name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        temporary.chmod(_ORDINARY_MODE)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
