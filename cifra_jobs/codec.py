"""Values to JSON and back, as the same types; never pickle.

Plain JSON values travel as they are. Any other supported type becomes a tagged object,
``{"__cifra__": KIND, "v": …}``; a user's own dict that holds that key is tagged as well, so no
value can be mistaken for a tag. `plain` turns a packed value into ordinary JSON for front ends:
tags never leave this module's callers.

Classes (enums, dataclasses, pydantic models, named tuples) travel as ``module:QualName`` and are
rebuilt field by field, without running ``__init__`` or validators, so that what arrives equals
what was sent. Only classes of these four kinds are ever rebuilt.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib
import math
import sys
import zlib
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson
from pydantic import BaseModel

from cifra_jobs.errors import DecodeError, EncodeError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compress", "decompress", "dumps", "loads", "pack", "plain", "unpack"]

TAG: Final = "__cifra__"
_TAG_BYTES: Final = b'"__cifra__"'

#: JSON integers outside of this range do not survive every parser.
_INT_RANGE: Final = range(-(2**63), 2**64)

_ATOMS: Final = frozenset({str, bool, type(None)})

DEFLATE: Final = "deflate"


def pack(value: Any, where: str = "value") -> Any:
    """Turn a value into one that JSON can carry; plain values come back as the same object.

    Args:
        value: anything that api.md lists as an argument or a result.
        where: how an error names the place, such as ``argument 'order'``.

    Raises:
        EncodeError: a value inside has no JSON form, or it nests too deep.
    """
    try:
        return _pack(value, where)
    except RecursionError:
        raise EncodeError(f"{where} nests too deep to travel as JSON") from None


def unpack(packed: Any) -> Any:
    """The inverse of `pack`.

    Raises:
        DecodeError: a tag is unknown or malformed, or its class cannot be imported.
    """
    try:
        return _unpack(packed)
    except DecodeError:
        raise
    except RecursionError:
        raise DecodeError("the value nests too deep") from None
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise DecodeError(f"a tagged value is malformed: {error!r}") from error


def dumps(packed: Any, where: str = "value") -> bytes:
    """JSON bytes of a packed value.

    Raises:
        EncodeError: a string is not valid Unicode, or the value nests deeper than 250 levels.
    """
    try:
        return orjson.dumps(packed)
    except TypeError as error:
        raise EncodeError(f"{where} cannot travel as JSON: {error}") from None


def loads(data: bytes | str) -> Any:
    """The value of JSON text, tags resolved.

    Raises:
        DecodeError: not JSON, or a malformed tag.
    """
    try:
        value = orjson.loads(data)
    except ValueError as error:
        raise DecodeError(f"not JSON: {error}") from None
    raw = data if isinstance(data, bytes) else data.encode()
    return unpack(value) if _TAG_BYTES in raw else value


def plain(packed: Any) -> Any:
    """Ordinary JSON for people and front ends: UUID and datetime as strings, objects as dicts."""
    if type(packed) is list:
        return [plain(item) for item in packed]
    if type(packed) is not dict:
        return packed
    if TAG not in packed:
        return {key: plain(item) for key, item in packed.items()}
    kind = packed[TAG]
    value: Any = packed.get("v")
    if kind == "map":
        return {str(plain(key)): plain(item) for key, item in value}
    if kind == "timedelta":
        return timedelta(*value).total_seconds()
    if kind == "int":
        return int(value)
    if kind in ("dict", "model"):
        return {key: plain(item) for key, item in value.items()}
    return plain(value)


def compress(body: bytes) -> bytes:
    """Deflate; level 1, since a worker waits for it."""
    return zlib.compress(body, 1)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo `compress`, refusing more than ``limit`` bytes: a small body can unfold to gigabytes.

    Raises:
        DecodeError: another encoding, damaged data, or too large.
    """
    if encoding != DEFLATE:
        raise DecodeError(f"content encoding {encoding!r} is not known; {DEFLATE!r} is")
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(body, limit)
    except zlib.error as error:
        raise DecodeError(f"the compressed body is damaged: {error}") from None
    if inflate.unconsumed_tail or not inflate.eof:
        raise DecodeError(f"the body unfolds to more than {limit} bytes, or is cut off")
    return data


def _pack(value: Any, where: str) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is int:
        return value if value in _INT_RANGE else {TAG: "int", "v": str(value)}
    if kind is float:
        return value if math.isfinite(value) else {TAG: "float", "v": repr(value)}
    if kind is list:
        return [_pack(item, where) for item in value]
    if kind is dict:
        return _pack_dict(value, where)
    packer = _PACKERS.get(kind)
    if packer is not None:
        return packer(value, where)
    return _pack_object(value, where)


def _pack_dict(value: dict[Any, Any], where: str) -> Any:
    for key in value:
        if type(key) is not str:
            pairs = [[_pack(k, where), _pack(v, where)] for k, v in value.items()]
            return {TAG: "map", "v": pairs}
    packed = {key: _pack(item, where) for key, item in value.items()}
    return {TAG: "dict", "v": packed} if TAG in value else packed


def _pack_object(value: Any, where: str) -> Any:
    if isinstance(value, Enum):
        return {TAG: "enum", "c": _path_of(value, where), "v": _pack(value.value, where)}
    if isinstance(value, BaseModel):
        extra = value.model_extra or {}
        return {
            TAG: "model",
            "c": _path_of(value, where),
            "v": {
                name: _pack(item, f"{where}.{name}")
                for name, item in {**value.__dict__, **extra}.items()
            },
            "set": sorted(value.model_fields_set),
        }
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: _pack(getattr(value, field.name), f"{where}.{field.name}")
            for field in dataclasses.fields(value)
        }
        return {TAG: "model", "c": _path_of(value, where), "v": fields}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [_pack(item, where) for item in value]
        return {TAG: "record", "c": _path_of(value, where), "v": items}
    if getattr(value, "__cifra_plain__", False):
        return str(value)
    raise EncodeError(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which has no JSON form"
        " that comes back as the same type; pass an id, a dict, a dataclass or a pydantic model"
    )


def _path_of(value: Any, where: str) -> str:
    cls = type(value)
    module = cls.__module__
    if module == "__main__":
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        module = spec.name if spec is not None else module
    if module == "__main__" or "<locals>" in cls.__qualname__:
        raise EncodeError(
            f"{where} is a {cls.__qualname__} defined in "
            f"{'a function' if '<locals>' in cls.__qualname__ else 'the main script'}, where a"
            " worker cannot import it from; move the class to the top of a module"
        )
    return f"{module}:{cls.__qualname__}"


def _class_at(path: str) -> Any:
    module_name, _, qualname = path.partition(":")
    try:
        target: Any = sys.modules.get(module_name) or importlib.import_module(module_name)
        for part in qualname.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise DecodeError(f"the class {path!r} cannot be imported here: {error}") from error
    is_ours = isinstance(target, type) and (
        issubclass(target, Enum | BaseModel)
        or dataclasses.is_dataclass(target)
        or (issubclass(target, tuple) and hasattr(target, "_fields"))
    )
    if not is_ours:
        raise DecodeError(
            f"{path!r} is not an enum, a dataclass, a named tuple or a pydantic model; "
            "only these are rebuilt from a message"
        )
    return target


def _unpack(packed: Any) -> Any:
    if type(packed) is list:
        return [_unpack(item) for item in packed]
    if type(packed) is not dict:
        return packed
    if TAG not in packed:
        return {key: _unpack(item) for key, item in packed.items()}
    unpacker = _UNPACKERS.get(packed[TAG])
    if unpacker is None:
        raise DecodeError(f"the tag {packed[TAG]!r} is not known to this version")
    return unpacker(packed)


def _unpack_model(packed: dict[str, Any]) -> Any:
    cls = _class_at(packed["c"])
    values = {name: _unpack(item) for name, item in packed["v"].items()}
    if issubclass(cls, BaseModel):
        return cls.model_construct(_fields_set=set(packed.get("set", values)), **values)
    instance = object.__new__(cls)
    for name, item in values.items():
        object.__setattr__(instance, name, item)
    return instance


def _unpack_datetime(packed: dict[str, Any]) -> datetime:
    sent = datetime.fromisoformat(packed["v"])
    fold = 1 if "f" in packed else 0
    key = packed.get("z")
    if key is None:
        return sent.replace(fold=fold)
    zone = UTC if key == "UTC" else ZoneInfo(key)
    # Its own reading of the clock, also one that the clocks of its zone skip.
    moment = sent.replace(tzinfo=zone, fold=fold)
    # Where the zone's rules differ here, the moment counts.
    return moment if moment.utcoffset() == sent.utcoffset() else sent.astimezone(zone)


def _pack_datetime(value: datetime, where: str) -> Any:
    packed: dict[str, Any] = {TAG: "datetime", "v": value.isoformat()}
    if isinstance(value.tzinfo, ZoneInfo):
        if value.tzinfo.key is None:
            raise EncodeError(f"{where} has a time zone without a name; use an IANA zone")
        packed["z"] = value.tzinfo.key
    if value.fold:
        packed["f"] = 1
    return packed


def _items(kind: str) -> Callable[[Any, str], Any]:
    return lambda value, where: {TAG: kind, "v": [_pack(item, where) for item in value]}


def _text(kind: str, to_text: Callable[[Any], str] = str) -> Callable[[Any, str], Any]:
    return lambda value, _where: {TAG: kind, "v": to_text(value)}


_PACKERS: dict[type, Callable[[Any, str], Any]] = {
    UUID: _text("uuid"),
    datetime: _pack_datetime,
    date: _text("date", date.isoformat),
    time: _text("time", time.isoformat),
    timedelta: lambda v, _: {TAG: "timedelta", "v": [v.days, v.seconds, v.microseconds]},
    Decimal: _text("decimal"),
    bytes: _text("bytes", lambda value: base64.b64encode(value).decode()),
    set: _items("set"),
    frozenset: _items("frozenset"),
    tuple: _items("tuple"),
}

_UNPACKERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "int": lambda p: int(p["v"]),
    "float": lambda p: float(p["v"]),
    "dict": lambda p: {key: _unpack(item) for key, item in p["v"].items()},
    "map": lambda p: {_unpack(key): _unpack(item) for key, item in p["v"]},
    "uuid": lambda p: UUID(p["v"]),
    "datetime": _unpack_datetime,
    "date": lambda p: date.fromisoformat(p["v"]),
    "time": lambda p: time.fromisoformat(p["v"]),
    "timedelta": lambda p: timedelta(*p["v"]),
    "decimal": lambda p: Decimal(p["v"]),
    "bytes": lambda p: base64.b64decode(p["v"], validate=True),
    "set": lambda p: {_unpack(item) for item in p["v"]},
    "frozenset": lambda p: frozenset(_unpack(item) for item in p["v"]),
    "tuple": lambda p: tuple(_unpack(item) for item in p["v"]),
    "enum": lambda p: _class_at(p["c"])(_unpack(p["v"])),
    "model": _unpack_model,
    "record": lambda p: _class_at(p["c"])(*[_unpack(item) for item in p["v"]]),
}
