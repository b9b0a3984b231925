"""Images: small versions of large pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from workers.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

#: JPEG quality: beyond 85 files grow and nobody sees a difference.
_QUALITY = 85
#: Side lengths in pixels that make sense for a thumbnail.
_SMALLEST, _LARGEST = 16, 2048


class PictureError(ValueError):
    """A file that is no readable picture; trying again would not help."""


def write_thumbnail(source: Path, folder: Path, size: int) -> Path:
    """Write a JPEG that fits into ``size`` by ``size`` pixels, and return where it is.

    The picture is turned as its camera noted, transparent parts become white, and a picture that
    is small already is not enlarged.

    Raises:
        PictureError: If the source is missing or no picture, or the size is not 16 to 2048.
    """
    if not _SMALLEST <= size <= _LARGEST:
        raise PictureError(f"A thumbnail is {_SMALLEST} to {_LARGEST} pixels wide, not {size}.")
    target = folder / f"{source.stem}-{size}.jpg"
    try:
        with Image.open(source) as picture:
            # JPEGs are decoded at a fraction of their size where that is still large enough.
            picture.draft("RGB", (size * 2, size * 2))
            small = _flattened(ImageOps.exif_transpose(picture))
            small.thumbnail((size, size), Image.Resampling.LANCZOS)
    except FileNotFoundError:
        raise PictureError(f"There is no picture at {source}.") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise PictureError(f"{source.name} is no readable picture: {error}") from error
    with write_atomically(target) as file:
        small.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return target


def _flattened(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    layered = picture.convert("RGBA")
    background = Image.new("RGBA", layered.size, "white")
    return Image.alpha_composite(background, layered).convert("RGB")
