"""Classes of arguments and results, at the top of a module as a worker needs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 9


class Word(StrEnum):
    YES = "yes"


@dataclass
class Point:
    x: int
    y: float = 0.0
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    id: UUID


class Order(BaseModel):
    id: UUID
    lines: list[Point]
    note: str | None = None


class Pair(NamedTuple):
    left: int
    right: Any


class Odd(Exception):
    """Takes arguments of its own."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code


class Secretive(Exception):
    """Cannot be rebuilt: its constructor wants what its args do not hold."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
