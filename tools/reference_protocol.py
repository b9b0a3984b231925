"""Reference pages read from the HTTP routes, the keyspace, the topology and the log calls."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.routing import Route

import cifra_jobs
from cifra_jobs.brokers.failure import FailureRecord
from cifra_jobs.brokers.rabbitmq import delays
from cifra_jobs.brokers.rabbitmq.topology import (
    QueueSpec,
    policies,
    queue_part,
    shared_part,
)
from cifra_jobs.jobs import message
from cifra_jobs.jobs.handle import TaskStatus
from cifra_jobs.runtime.probes import metrics_text
from cifra_jobs.store import keys
from cifra_jobs.web import app
from tools.reference_facts import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cifra_jobs.brokers.rabbitmq.topology import Topology

__all__ = ["http", "logs", "redis_keys", "topology"]

_LEVELS = ("critical", "error", "exception", "warning", "info", "debug")
_RULER = re.compile(r"={3,}( +={3,})+")


# -- HTTP --------------------------------------------------------------------------------------


def http() -> str:
    """The routes of the web application, the fields of a status, the probes of a worker."""
    rows = []
    for route in app(can_send=True).routes:
        if isinstance(route, Route):
            text = inspect.cleandoc(route.endpoint.__doc__ or "").partition("\n\n")[0]
            # Most docstrings begin with the request itself: ``GET /…``: what it answers.
            answer = re.sub(r"^``[^`]+``: ", "", " ".join(text.split())).replace("``", "`")
            rows.append((f"`{_method(route)} {route.path}`", answer.removesuffix(".")))
    fields = [(f"`{name}`", str(kind)) for name, kind in _status_fields().items()]
    return (
        table(("request", "answer"), rows)
        + "\n\n`POST /api/tasks` is served by `cifra dev --memory` and `app(can_send=True)` alone."
        ' Its body is `{"name", "args", "kwargs", "queue", "priority", "delay"}`; the answer is'
        ' `202 {"id"}`.\n\n'
        + table(
            ("code", "when"),
            [
                ("`200`", "known, whatever became of it"),
                ("`204`", "an event stream that has ended is asked for again"),
                ("`400`", "a send that does not fit the task"),
                ("`401`", "no token shown, and `public_status` does not let it through"),
                ("`403`", "a send from a page of another origin"),
                ("`404`", "an id never seen, or a task name that is not imported here"),
                ("`503`", "Redis or RabbitMQ is away; `Retry-After` is set for reads"),
            ],
        )
        + "\n\n## A status as JSON\n\nTimes are ISO 8601 in UTC; ids, decimals and the like are"
        " plain strings. Each event of the stream is this object; the last one has `id: ended`.\n\n"
        + table(("field", "kind"), fields)
        + "\n\n## Probes of a worker\n\n"
        + table(
            ("request", "answer"),
            [
                ("`GET /healthz`", "`200` while the supervisor lives"),
                (
                    "`GET /readyz`",
                    "`200` when every process is up and connected; else `503` and why",
                ),
                ("`GET /metrics`", "figures for Prometheus: [logs and metrics](logs.md#metrics)"),
            ],
        )
    )


def _method(route: Route) -> str:
    return next(iter(sorted((route.methods or set()) - {"HEAD"})))


def _status_fields() -> dict[str, str]:
    kinds = inspect.get_annotations(TaskStatus)
    return {name: kind for name, kind in kinds.items() if not name.startswith("_")}


# -- Redis -------------------------------------------------------------------------------------


def redis_keys() -> str:
    """The docstring of the keyspace, its tables in Markdown."""
    limits = [
        ("a result travels inside its record up to", f"{keys.INLINE_RESULT_CHARS} characters"),
        ("a revoke of an unknown id waits", f"{keys.REVOKE_UNKNOWN_MS // 86_400_000} days"),
        ("a wait for an unknown id is kept", f"{keys.WATCH_UNKNOWN_MS // 3_600_000} hour"),
    ]
    return _markdown(keys.__doc__ or "") + "\n\n## Limits\n\n" + table(("what", "how much"), limits)


def _markdown(text: str) -> str:
    """A docstring with simple tables of reStructuredText as Markdown."""
    lines = inspect.cleandoc(text).splitlines()
    out: list[str] = []
    while lines:
        line = lines.pop(0)
        if not _RULER.fullmatch(line):
            out.append(line.replace("``", "`"))
            continue
        starts = [match.start() for match in re.finditer(r"=+", line)]
        cells: list[list[str]] = []
        rulers = 1
        has_head = sum(1 for each in lines[: _end_of(lines)] if _RULER.fullmatch(each)) > 1
        for row in iter(lambda: lines.pop(0), None):
            if _RULER.fullmatch(row):
                rulers += 1
                if rulers > (2 if has_head else 1):
                    break
                continue
            parts = [row[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)]
            if parts[0]:
                cells.append(parts)
            else:
                cells[-1] = [f"{a} {b}".strip() for a, b in zip(cells[-1], parts, strict=True)]
        cells = [[cell.replace("``", "`") for cell in row] for row in cells]
        head = cells.pop(0) if has_head else ["field", "holds"]
        out.append(table(head, cells))
    return "\n".join(out)


def _end_of(lines: list[str]) -> int:
    """Where the paragraph of a table ends: at the first empty line."""
    return next((i for i, line in enumerate(lines) if not line.strip()), len(lines))


# -- RabbitMQ ----------------------------------------------------------------------------------


def topology() -> str:
    """Exchanges, queues, bindings and policies of a small deployment; the message on the wire."""
    shared = shared_part("cifra")
    classic = queue_part("cifra", "default", QueueSpec())
    quorum = queue_part("cifra", "ledger", QueueSpec("quorum"))
    whole = shared + classic + quorum
    levels = {f"cifra.delay.{level:02d}" for level in range(3, delays.LEVEL_COUNT)}
    top = delays.LEVEL_COUNT - 1
    days = delays.MAX_DELAY_MS / 3_600_000
    shown = [
        (f"`{name}`", kind, arguments)
        for name, kind, arguments in _entities(whole)
        if name not in levels
    ]
    bound = [
        (f"`{each.source}`", f"`{each.key}`", f"`{each.target}`")
        for each in (classic + quorum).bindings
    ]
    kept = [
        (
            f"`{policy.name}`",
            f"`{policy.pattern}`",
            _arguments(policy.definition),
            _versions(policy.versions),
        )
        for policy in policies()
    ]
    failure = ", ".join(
        f"`cifra-failure-{name.replace('_', '-')}`" for name in FailureRecord.__slots__
    )
    return (
        table(("name", "kind", "arguments"), shown)
        + f"\n\nLevels 03 to {top} go on likewise: each holds twice as long and dead-letters one"
        f" level down. {delays.LEVEL_COUNT} levels hold {days:.1f} hours; the worker sends the rest"
        " of a longer delay on. How: [delays](../explanation/delays.md)."
        "\n\n## Bindings of a queue\n\n"
        + table(("from", "key", "to"), bound)
        + "\n\n## Policies\n\nSet them on the server; we never do. They are in"
        " [rabbitmq/](../../rabbitmq/README.md).\n\n"
        + table(("name", "pattern", "definition", "versions"), kept)
        + "\n\n## A message\n\n"
        + _markdown(message.__doc__ or "")
        + f"\n\nA dead letter has these headers beside its own: {failure}."
    )


def _entities(whole: Topology) -> Iterator[tuple[str, str, str]]:
    for exchange in whole.exchanges:
        yield exchange.name, f"{exchange.kind} exchange", _arguments(exchange.arguments)
    for queue in whole.queues:
        yield queue.name, "queue", _arguments(queue.arguments)


def _arguments(arguments: Mapping[str, object]) -> str:
    return ", ".join(f"`{key}: {value}`" for key, value in arguments.items()) or "-"


def _versions(versions: tuple[tuple[int, int], tuple[int, int] | None]) -> str:
    first, until = versions
    text = f"from {first[0]}.{first[1]}"
    return text if until is None else f"{text}, before {until[0]}.{until[1]}"


# -- logs and metrics --------------------------------------------------------------------------


def logs() -> str:
    """Every log line that the code can write, and every metric."""
    root = Path(cifra_jobs.__file__).parent
    found: dict[tuple[str, str], set[str]] = {}
    for path in sorted(root.rglob("*.py")):
        if not {"testing", "dev"} & set(path.relative_to(root).parts):
            for level, event, names in _calls(path):
                shown = "error" if level == "exception" else level
                found.setdefault((event, shown), set()).update(names)
    order = {level: i for i, level in enumerate(_LEVELS)}
    rows = [
        (
            event,
            level,
            ", ".join(f"`{n}`" for n in sorted(names)),
        )
        for (event, level), names in sorted(
            found.items(), key=lambda item: (order[item[0][1]], item[0][0])
        )
    ]
    return (
        "One line is written at each change of a task's state: `task state` with `task_id`, `task`,"
        " `queue`, `attempt`, `from`, `to`, and where there is a cause `error`, `reason` and"
        " `delay_s`. A run shorter than 5 ms has one line, from `running` to its end.\n\n"
        + table(("event", "level", "facts"), rows)
        + "\n\n## Metrics\n\nOne port serves all the processes of a `cifra worker start`.\n\n"
        + table(("name", "kind", "meaning", "labels"), list(_metrics()))
    )


def _calls(path: Path) -> Iterator[tuple[str, str, set[str]]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        is_log = isinstance(owner, ast.Name) and owner.id in {"log", "_log"}
        if is_log and node.func.attr in _LEVELS and node.args:
            names = set(_names(node))
            for event in _texts(node.args[0]):
                yield node.func.attr, event, names


def _names(call: ast.Call) -> Iterator[str]:
    """The facts of a log line; those of a dict that is not written out are an ellipsis."""
    for word in call.keywords:
        if isinstance(word.value, ast.Dict) and word.arg is None:
            keys = [key for key in word.value.keys if isinstance(key, ast.Constant)]
            yield from (str(key.value) for key in keys)
        elif word.arg is None:
            yield "…"
        elif word.arg != "exc_info":
            yield word.arg


def _texts(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body), *_texts(node.orelse)]
    if isinstance(node, ast.JoinedStr):
        parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values]
        return ["".join(parts)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _metrics() -> Iterator[tuple[str, str, str, str]]:
    slot = {
        "worker": "W",
        "is_up": True,
        "running": 0,
        "rss": 0,
        "restarts": 0,
        "counts": {"success": 1},
    }
    text = metrics_text([slot])[1]
    for name, meaning in re.findall(r"# HELP (\S+) (.+)", text):
        kind = re.search(rf"# TYPE {name} (\S+)", text)
        labels = re.search(rf"^{name}\{{(.*?)\}}", text, re.MULTILINE)
        names = re.findall(r"(\w+)=", labels[1]) if labels else []
        yield f"`{name}`", kind[1] if kind else "", meaning, ", ".join(f"`{n}`" for n in names)
