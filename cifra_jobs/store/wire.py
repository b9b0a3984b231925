"""Operations as the script reads them, and its replies as upper floors read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from cifra_jobs.jobs.state import FINAL_STATES, TaskRecord, TaskState
from cifra_jobs.store import keys
from cifra_jobs.store.base import (
    Beat,
    Claim,
    ClaimReply,
    Created,
    Finish,
    Get,
    Gone,
    Live,
    Operation,
    Progress,
    Release,
    Reply,
    Revoke,
    SendFailed,
    Stage,
    Started,
    Unwatch,
    Watch,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Encoded", "decode", "encode", "news_record", "record"]

#: A verb, then texts; see the headers of ``lua/*.lua``.
Encoded: TypeAlias = list[Any]

_VERDICTS = {word: ClaimReply(word) for word in ("run", "busy", "stale", "revoked")}


def encode(operation: Operation, now: int) -> Encoded:
    """One operation as the script reads it. ``now``: milliseconds since the epoch."""
    return _ENCODERS[type(operation)](operation, now)


def decode(operation: Operation, reply: Any, now: int) -> Reply:
    """The script's reply to ``operation``. ``now`` judges whether a result has expired."""
    return _DECODERS[type(operation)](operation, reply, now)


# ── to the script ──


def _stored(result: str, expires_at: int) -> tuple[str, str]:
    """A result as the record holds it, and the result itself when it is large."""
    if len(result) <= keys.INLINE_RESULT_CHARS:
        return f"{expires_at} {result}", ""
    return f"{expires_at} @", result


def _created(op: Created, _now: int) -> Encoded:
    priority = "-" if op.priority is None else op.priority
    sent = f"{op.created_at} {priority} {op.queue} {op.task_name}"
    fields = ["state", op.state, "sent", sent]
    if op.eta is not None:
        fields += ("eta", str(op.eta))
    if op.root_id:
        fields += ("root_id", op.root_id)
    if op.parent_id:
        fields += ("parent_id", op.parent_id)
    return ["create", op.task_id, op.state, str(op.ttl_ms), *fields]


def _send_failed(op: SendFailed, _now: int) -> Encoded:
    return ["fail_send", op.task_id, str(op.now), op.error]


def _claim(op: Claim, _now: int) -> Encoded:
    return [
        "claim",
        op.task_id,
        str(op.round),
        op.token,
        f"{op.round} {op.token} {op.worker}",
        str(op.ttl_ms),
        f"{op.created_at} - {op.queue} {op.task_name}",
        # A young record has most of its life before it: one write less for nearly every claim.
        "1" if op.now - op.created_at > op.ttl_ms // 2 else "",
        str(op.replays),
    ]


def _started(op: Started, _now: int) -> Encoded:
    return ["start", op.task_id, op.token, f"{op.attempts} {op.now} -"]


def _progress(op: Progress, _now: int) -> Encoded:
    fields: list[str] = []
    if op.progress is not None:
        fields += ("progress", repr(float(op.progress)))
    if op.message is not None:
        fields += ("message", op.message)
    if op.stage is not None:
        fields += ("stage", op.stage)
    if op.meta is not None:
        fields += ("meta", op.meta)
    return ["progress", op.task_id, op.token, *fields]


def _stage(op: Stage, now: int) -> Encoded:
    stored, large = _stored(op.result, now + op.result_ttl_ms)
    return ["stage", op.task_id, op.token, stored, large, str(max(1, op.result_ttl_ms))]


def _finish(op: Finish, _now: int) -> Encoded:
    started = "-" if op.started_at is None else op.started_at
    if op.state in FINAL_STATES:
        fields = ["state", op.state, "run", f"{op.attempts} {started} {op.now}"]
    else:
        fields = ["state", op.state, "run", f"{op.attempts} {started} -"]
        fields += ("claim", f"{op.round}  {op.worker}")
    if op.eta is not None:
        fields += ("eta", str(op.eta))
    if op.error is not None:
        fields += ("error", op.error)
    elif op.attempts > 1 or op.round:
        fields += ("error", "")  # that of an earlier attempt
    large = result_ttl = ""
    if op.result is not None:
        stored, large = _stored(op.result, op.now + op.result_ttl_ms)
        fields += ("result", stored)
        result_ttl = str(max(1, op.result_ttl_ms))
    return [
        "finish",
        op.task_id,
        op.token,
        op.state,
        str(op.round),
        str(op.ttl_ms),
        f"{op.created_at} - {op.queue} {op.task_name}",
        f"{op.round} {op.token} {op.worker}",
        large,
        result_ttl,
        "1" if op.handed_over else "0",
        *fields,
    ]


def _release(op: Release, _now: int) -> Encoded:
    return ["release", op.task_id, op.token]


def _revoke(op: Revoke, _now: int) -> Encoded:
    return ["revoke", op.task_id, str(op.now), op.error, str(keys.REVOKE_UNKNOWN_MS)]


def _get(op: Get, _now: int) -> Encoded:
    return ["get", op.task_id]


def _watch(op: Watch, _now: int) -> Encoded:
    return ["watch", op.task_id, op.channel, str(keys.WATCH_UNKNOWN_MS)]


def _unwatch(op: Unwatch, _now: int) -> Encoded:
    return ["unwatch", op.task_id, op.channel]


def _beat(op: Beat, _now: int) -> Encoded:
    return ["beat", op.worker, op.info, str(op.ttl_ms)]


def _gone(op: Gone, _now: int) -> Encoded:
    return ["gone", op.worker]


def _live(_op: Live, _now: int) -> Encoded:
    return ["live"]


_ENCODERS: dict[type, Callable[[Any, int], Encoded]] = {
    Beat: _beat,
    Claim: _claim,
    Created: _created,
    Finish: _finish,
    Get: _get,
    Gone: _gone,
    Live: _live,
    Progress: _progress,
    Release: _release,
    Revoke: _revoke,
    SendFailed: _send_failed,
    Stage: _stage,
    Started: _started,
    Unwatch: _unwatch,
    Watch: _watch,
}

# ── from the script ──


def _word(_op: Any, reply: Any, _now: int) -> Reply:
    return reply if isinstance(reply, str) else None


def _flag(_op: Any, reply: Any, _now: int) -> Reply:
    return bool(reply)


def _verdict(_op: Claim, reply: Any, _now: int) -> Reply:
    if isinstance(reply, str):
        return _VERDICTS[reply]
    verdict, state, *outcome = reply
    if verdict == "staged":
        return ClaimReply(verdict, result=state)
    if verdict == "died":
        return ClaimReply("run", str(TaskState.RUNNING), deaths=state)
    if not outcome:
        return ClaimReply(verdict, state)
    result, error = outcome
    return ClaimReply(verdict, state, handed_over=False, result=result, error=error or None)


def _record(op: Get | Watch, reply: Any, now: int) -> Reply:
    if not reply:
        return None
    fields, large = reply
    return record(op.task_id, dict(zip(fields[::2], fields[1::2], strict=True)), large, now)


def _workers(_op: Live, reply: Any, _now: int) -> Reply:
    return dict(zip(reply[::2], reply[1::2], strict=True))


_DECODERS: dict[type, Callable[[Any, Any, int], Reply]] = {
    Beat: _flag,
    Claim: _verdict,
    Created: _word,
    Finish: _word,
    Get: _record,
    Gone: _flag,
    Live: _workers,
    Progress: _flag,
    Release: _flag,
    Revoke: _word,
    SendFailed: _word,
    Stage: _flag,
    Started: _flag,
    Unwatch: _flag,
    Watch: _record,
}


def _number(word: str) -> int | None:
    return None if word == "-" else int(word)


def record(task_id: str, fields: dict[str, str], large: str | None, now: int) -> TaskRecord:
    """A record from the fields of ``keys.py``; ``large`` is its result when kept apart."""
    get = fields.get
    created_at, priority, queue, name = get("sent", "- -  ").split(" ", 3)
    attempts, started_at, finished_at = get("run", "0 - -").split(" ")
    _round, _token, worker = get("claim", "0  ").split(" ", 2)
    until, _, result = get("result", "").partition(" ")
    if result == "@":
        result = large or ""
    is_expired = bool(until) and (now >= int(until) or not result)
    return TaskRecord(
        task_id=task_id,
        state=TaskState(fields["state"]),
        task_name=name,
        queue=queue,
        priority=_number(priority),
        attempts=int(attempts),
        created_at=_number(created_at),
        eta=_number(get("eta", "-")),
        started_at=_number(started_at),
        finished_at=_number(finished_at),
        worker=worker or None,
        progress=float(get("progress", "0")),
        message=get("message") or None,
        stage=get("stage") or None,
        meta=orjson.loads(get("meta", "{}")),
        result=None if is_expired else result or None,
        result_expired=is_expired,
        error=get("error") or None,
        root_id=get("root_id"),
        parent_id=get("parent_id"),
        revoked="r" in get("flags", ""),
    )


def news_record(payload: str) -> tuple[TaskRecord, bool]:
    """News of a watched task: what it tells of the record, and whether it holds the result.

    Names, times and counts are not part of news; `Get` has them.
    """
    news = orjson.loads(payload)
    told = TaskRecord(
        task_id=news["id"],
        state=TaskState(news["state"]),
        progress=float(news["progress"]),
        message=news["message"],
        stage=news["stage"],
        meta=news["meta"],
        result=news.get("result"),
        error=news.get("error"),
    )
    return told, not news.get("large", False)
