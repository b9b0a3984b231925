"""Pictures to make thumbnails of: landscapes at dusk, drawn from noise."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_SIZE = (1600, 1200)
#: One in so many pictures was taken with a turned camera, has transparent parts.
_TURNED, _TRANSPARENT = 5, 7
#: "Turn me by 90 degrees clockwise", as cameras note it in a picture.
_ORIENTATION_TAG, _TURN_BACK = 0x0112, 6


def draw_pictures(folder: Path, count: int, rng: random.Random) -> list[Path]:
    """Write ``count`` pictures: JPEGs, some of them turned, and PNGs with transparent parts."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder, number, _landscape(rng)) for number in range(1, count + 1)]


def _write(folder: Path, number: int, picture: Image.Image) -> Path:
    if number % _TRANSPARENT == 0:
        path = folder / f"picture-{number:03d}.png"
        mask = Image.new("L", picture.size, 0)
        ImageDraw.Draw(mask).ellipse((40, 40, picture.width - 40, picture.height - 40), fill=255)
        picture.putalpha(mask)
        picture.save(path, compress_level=1)
        return path
    path = folder / f"picture-{number:03d}.jpg"
    exif = Image.Exif()
    if number % _TURNED == 0:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif[_ORIENTATION_TAG] = _TURN_BACK
    picture.save(path, quality=88, exif=exif)
    return path


def _landscape(rng: random.Random) -> Image.Image:
    width, height = _SIZE
    top = np.array([rng.randint(15, 70), rng.randint(25, 80), rng.randint(90, 150)])
    bottom = np.array([rng.randint(220, 255), rng.randint(130, 190), rng.randint(90, 150)])
    share = np.linspace(0, 1, height)[:, None, None]
    sky = np.broadcast_to(top * (1 - share) + bottom * share, (height, width, 3))
    picture = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    x, y, radius = rng.randint(200, 1400), rng.randint(350, 650), rng.randint(50, 110)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 236, 190))
    for layer in range(4):
        shade = 1 - layer / 4.5
        color = tuple(int(value * shade * 0.75) for value in (top + bottom) / 2)
        draw.polygon(_ridge(rng, height * (0.5 + 0.13 * layer)), fill=color)
    return picture


def _ridge(rng: random.Random, base: float) -> list[tuple[float, float]]:
    width, height = _SIZE
    along = np.linspace(0, width, 200)
    line = np.zeros_like(along)
    for wave in (1, 2, 4, 9, 17):
        line += (90 / wave) * np.sin(along / width * 2 * np.pi * wave + rng.uniform(0, 6.3))
    points = [(float(x), float(base - y)) for x, y in zip(along, line, strict=True)]
    return [*points, (float(width), float(height)), (0.0, float(height))]
