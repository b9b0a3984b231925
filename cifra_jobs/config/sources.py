"""Where settings come from besides code: environment variables and a YAML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml

from cifra_jobs.config.problems import model_of, nearest, setting_fields
from cifra_jobs.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

__all__ = ["PREFIX", "find_file", "from_environment", "from_file", "load_yaml", "merge"]

#: Every environment variable of ours begins so; ``__`` stands between the levels.
PREFIX = "CIFRA_"
#: Read by the command line itself, not settings.
_NOT_SETTINGS = frozenset({"CIFRA_CONFIG", "CIFRA_TRACEBACK"})
#: The customary names, below our own in rank.
_CUSTOMARY = {"RABBITMQ_URL": ("broker", "url"), "REDIS_URL": ("result_backend", "url")}
_ROOT = "background_jobs"

Origins = dict[tuple[str, ...], str]


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error: PyYAML silently keeps the last one."""

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 - PyYAML's own
    ) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"the key {key!r} is given twice, the second time in line {line}")
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or is not a mapping.
    """
    try:
        # Safe: the loader derives from SafeLoader.
        data = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)  # noqa: S506
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a mapping of settings, not {type(data).__name__}")
    return data


def find_file(given: str | os.PathLike[str] | None) -> tuple[Path | None, bool]:
    """The configuration file, and whether somebody asked for it.

    The order: ``given``, ``CIFRA_CONFIG``, ``config.yaml`` in the working directory.
    """
    asked = given if given is not None else os.environ.get("CIFRA_CONFIG") or None
    if asked is not None:
        return Path(asked), True
    customary = Path("config.yaml")
    return (customary if customary.is_file() else None), False


def from_file(path: Path, *, is_asked_for: bool) -> dict[str, Any]:
    """The settings under ``background_jobs:`` in a file.

    A file that only lies there (``config.yaml`` of some other program) may hold none of ours; one
    that was asked for must, or be a worker file.
    """
    data = load_yaml(path)
    if _ROOT in data:
        found = data[_ROOT] or {}
        if not isinstance(found, dict):
            raise ConfigError(f"{path}: {_ROOT} must be a mapping of settings")
        return found
    if guess := nearest(_ROOT, [str(key) for key in data]):
        raise ConfigError(f"{path}: there is no key {guess!r}; did you mean {_ROOT!r}?")
    if is_asked_for and data and "workers" not in data:
        raise ConfigError(f"{path} holds no {_ROOT!r} section, so there are no settings in it")
    return {}


def from_environment(
    model: type[BaseModel], environ: Mapping[str, str]
) -> tuple[dict[str, Any], Origins]:
    """Settings from environment variables, and which variable gave which path.

    Raises:
        ConfigError: a variable of ours names no setting.
    """
    values: dict[str, Any] = {}
    origins: Origins = {}
    for variable, known_path in _CUSTOMARY.items():
        if environ.get(variable):
            _put(values, known_path, environ[variable])
            origins[known_path] = variable
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith(PREFIX) or variable in _NOT_SETTINGS or not text:
            continue
        path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        annotation = _annotation(model, path)
        if annotation is None:
            _refuse_unknown(variable, model)
            continue
        _put(values, path, _value(annotation, text, variable))
        origins[path] = variable
    return values, origins


def merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    """The values of both; where both have a mapping, merged at every level, else ``high`` wins."""
    merged = dict(low)
    for key, value in high.items():
        below = merged.get(key)
        is_both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = merge(below or {}, value) if is_both else value
    return merged


def _annotation(model: type[BaseModel], path: tuple[str, ...]) -> Any:
    """The type of the setting at a path; ``Any`` for a free value, ``None`` for no such setting."""
    annotation: Any = model
    for part in path:
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            continue
        if annotation is Any:
            return None
        inner = model_of(annotation)
        field = inner.model_fields.get(part) if inner is not None else None
        if field is None:
            return None
        annotation = field.annotation
    return annotation


def _value(annotation: Any, text: str, variable: str) -> Any:
    is_list = get_origin(annotation) in {list, tuple}
    if is_list and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    is_optional = type(None) in get_args(annotation)
    if is_optional and text.strip().lower() in {"null", "none"}:
        return None
    if not (is_list or annotation is Any or model_of(annotation) or get_origin(annotation) is dict):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{variable} holds neither JSON nor YAML: {' '.join(str(error).split())}"
        ) from None


def _put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    *parents, name = path
    for part in parents:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            return
        values = inner
    values[name] = value


def _refuse_unknown(variable: str, model: type[BaseModel]) -> None:
    known = {"__".join(path).upper() for path, _ in setting_fields(model)}
    known |= {variable.removeprefix(PREFIX) for variable in _NOT_SETTINGS}
    name = variable.removeprefix(PREFIX)
    # Kubernetes puts CIFRA_WEB_PORT and the like into every container beside a service called
    # cifra-web: a name without our double underscore counts only if it is nearly one of ours.
    if "__" not in name and nearest(name, known, likeness=0.85) is None:
        return
    guess = nearest(name, known)
    hint = f"; did you mean {PREFIX}{guess}?" if guess else ""
    raise ConfigError(f"the environment variable {variable} names no setting{hint}")
