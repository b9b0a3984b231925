from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from workers.images import PictureError, write_thumbnail


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_a_thumbnail_fits_and_keeps_the_proportions(tmp_path: Path) -> None:
    Image.new("RGB", (1600, 1200), "navy").save(tmp_path / "wide.jpg")

    target = write_thumbnail(tmp_path / "wide.jpg", tmp_path / "out", 256)

    assert target == tmp_path / "out" / "wide-256.jpg"
    assert size_of(target) == (256, 192)


def test_a_picture_is_turned_as_its_camera_noted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (1600, 1200), "navy").save(tmp_path / "turned.jpg", exif=exif)

    assert size_of(write_thumbnail(tmp_path / "turned.jpg", tmp_path, 256)) == (192, 256)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_become_white(tmp_path: Path, mode: str) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 0)).convert(mode).save(tmp_path / "clear.png")

    with Image.open(write_thumbnail(tmp_path / "clear.png", tmp_path, 32)) as small:
        assert small.getpixel((16, 16)) == (255, 255, 255)


def test_a_palette_with_a_transparent_color_becomes_white_there(tmp_path: Path) -> None:
    Image.new("P", (64, 64), 3).save(tmp_path / "clear.gif", transparency=3)

    with Image.open(write_thumbnail(tmp_path / "clear.gif", tmp_path, 32)) as small:
        assert small.getpixel((16, 16)) == (255, 255, 255)


def test_a_small_picture_is_not_enlarged(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "small.png")

    assert size_of(write_thumbnail(tmp_path / "small.png", tmp_path, 256)) == (40, 30)


def test_a_broken_file_is_no_picture_and_leaves_nothing_behind(tmp_path: Path) -> None:
    Image.effect_noise((400, 400), 90).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])

    with pytest.raises(PictureError, match=r"half\.jpg is no readable picture"):
        write_thumbnail(tmp_path / "half.jpg", tmp_path / "out", 256)

    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"no picture at .*gone\.jpg"):
        write_thumbnail(tmp_path / "gone.jpg", tmp_path, 256)


@pytest.mark.parametrize("size", [0, 15, 2049])
def test_a_size_beyond_reason_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(PictureError, match="16 to 2048"):
        write_thumbnail(tmp_path / "any.jpg", tmp_path, size)
