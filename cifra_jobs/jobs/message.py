"""The envelope on the wire: Dramatiq's message as JSON, with typed values inside.

A body is exactly what Dramatiq's own JSON encoder would write for values that plain JSON carries,
so that either side may be Dramatiq. Keys of ``options`` that are ours:

=============== ==========================================================
``retries``     retries used so far (Dramatiq's)
``round``       times this message was sent on, by retry or snooze
``eta``         due time, ms since the epoch (Dramatiq's)
``expires_at``  a run must not start after it, ms since the epoch
``set``         task options of this call, canonical names
``link``        signatures to send after success; ``link_error`` after a failure
``headers``     the caller's own, for ``current_task.request.headers``
``root_id``     first task of the tree of sends; ``parent_id`` the sender
``replays``     times it was put back from the dead, once a worker has taken it
``unknown_at``  when a worker first found that it does not know the task
=============== ==========================================================
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.encoder import JSONEncoder, PickleEncoder

from cifra_jobs import codec
from cifra_jobs.errors import ConfigError, DecodeError, EncodeError

if TYPE_CHECKING:
    from dramatiq.encoder import Encoder

__all__ = ["COMPRESS_ABOVE", "decode", "encode", "make", "new_id", "sent_on"]

#: Bytes; above it deflate pays for itself on the way through the broker.
COMPRESS_ABOVE = 16 * 1024

_FIELDS = frozenset(
    {
        "queue_name",
        "actor_name",
        "args",
        "kwargs",
        "options",
        "message_id",
        "message_timestamp",
    }
)


def encode(message: dramatiq.Message[Any]) -> bytes:
    """The body of a message.

    Raises:
        EncodeError: an argument or an option cannot travel as JSON; it is named.
    """
    custom = _custom_encoder()
    if custom is not None:
        return custom.encode(message.asdict())
    try:
        return codec.dumps(
            {
                "queue_name": message.queue_name,
                "actor_name": message.actor_name,
                "args": codec.pack(list(message.args)),
                "kwargs": codec.pack(message.kwargs),
                "options": codec.pack(message.options),
                "message_id": message.message_id,
                "message_timestamp": message.message_timestamp,
            }
        )
    except EncodeError as error:
        raise _named(message, error) from None


def decode(body: bytes, encoding: str | None, *, limit: int) -> dramatiq.Message[Any]:
    """The message in a body.

    Args:
        body: as received.
        encoding: its ``content_encoding``.
        limit: bytes that it may unfold to.

    Raises:
        DecodeError: truncated, foreign, oversized or malformed; the reason is one sentence.
    """
    if encoding:
        body = codec.decompress(body, encoding, limit)
    if len(body) > limit:
        raise DecodeError(f"the body has {len(body)} bytes; max_message_size is {limit}")
    custom = _custom_encoder()
    if custom is not None:
        return dramatiq.Message.decode(body)
    fields = codec.loads(body)
    if type(fields) is not dict or fields.keys() != _FIELDS:
        raise DecodeError("the body is JSON, but not a Dramatiq message")
    message: dramatiq.Message[Any]
    args, kwargs, options = fields["args"], fields["kwargs"], fields["options"]
    is_sound = (
        type(args) is list
        and type(kwargs) is dict
        and type(options) is dict
        and type(fields["message_id"]) is str
        and type(fields["actor_name"]) is str
        and type(fields["queue_name"]) is str
        and type(fields["message_timestamp"]) is int
    )
    if not is_sound:
        raise DecodeError("the body is a Dramatiq message with a field of the wrong type")
    message = make(
        fields["queue_name"],
        fields["actor_name"],
        tuple(args),
        kwargs,
        options,
        fields["message_id"],
        fields["message_timestamp"],
    )
    return message


def make(
    queue: str,
    actor: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
    message_id: str,
    timestamp: int,
) -> dramatiq.Message[Any]:
    """A message of these fields.

    Filled in directly: the constructor of a frozen dataclass sets each field through
    ``object.__setattr__``, which costs more than the whole decoding of a small message.
    """
    message: dramatiq.Message[Any] = object.__new__(dramatiq.Message)
    message.__dict__.update(
        queue_name=queue,
        actor_name=actor,
        args=args,
        kwargs=kwargs,
        options=options,
        message_id=message_id,
        message_timestamp=timestamp,
    )
    return message


def new_id() -> str:
    """A random UUID (version 4) as text, at a third of the price of ``str(uuid.uuid4())``."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def sent_on(message: dramatiq.Message[Any], **options: Any) -> dramatiq.Message[Any]:
    """A copy of a message for its next round; options set to ``None`` are taken out."""
    merged = {**message.options, "round": message.options.get("round", 0) + 1, **options}
    kept = {name: value for name, value in merged.items() if value is not None}
    return make(
        message.queue_name,
        message.actor_name,
        message.args,
        message.kwargs,
        kept,
        message.message_id,
        message.message_timestamp,
    )


def _custom_encoder() -> Encoder | None:
    encoder = dramatiq.get_encoder()
    if type(encoder) is JSONEncoder:
        return None
    if isinstance(encoder, PickleEncoder):
        raise ConfigError("cifra_jobs never reads or writes pickle; drop dramatiq.set_encoder(…)")
    return encoder


def _named(message: dramatiq.Message[Any], error: EncodeError) -> EncodeError:
    """The same refusal, naming the argument that caused it."""
    named = [(f"argument {i + 1}", value) for i, value in enumerate(message.args)]
    named += [(f"argument {name!r}", value) for name, value in message.kwargs.items()]
    named += [(f"option {name!r}", value) for name, value in message.options.items()]
    for where, value in named:
        try:
            codec.dumps(codec.pack(value, where), where)
        except EncodeError as found:
            return EncodeError(f"{message.actor_name}: {found}")
    return EncodeError(f"{message.actor_name}: {error}")
