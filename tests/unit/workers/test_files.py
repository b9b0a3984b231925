from __future__ import annotations

from pathlib import Path

import pytest

from workers.files import write_atomically


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    with write_atomically(path) as file:
        file.write(b"all of it")
        assert not path.exists()

    assert path.read_bytes() == b"all of it"


def test_a_failed_writer_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_bytes(b"old")

    def die_halfway() -> None:
        with write_atomically(path) as file:
            file.write(b"half of i")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        die_halfway()

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
