"""The whole Redis keyspace, on one page. ``cifra`` stands for the namespace of the settings.

========================  ========  =======================================================
key                       type      holds; lives
========================  ========  =======================================================
``cifra:t:<id>``          hash      the record of one task, fields below; the ``ttl_ms`` of the
                                    last operation that gave one
``cifra:r:<id>``          string    its result, when larger than `INLINE_RESULT_CHARS`; the
                                    result's own time to live
``cifra:w:<worker>``      string    JSON about a worker that is alive; the ``ttl_ms`` of `Beat`
``cifra:workers``         set       names of workers that may be alive; `Live` drops the dead
``cifra:c:<channel>``     pub/sub   control signals and news; nothing is stored
========================  ========  =======================================================

Fields of a record. What is written together is one field, its words separated by spaces (``-``: no
value): a hash of few fields is what makes a claim or an outcome cheap.

=================  ==========================================================================
``state``          a `TaskState` word. Absent: the id was never sent, somebody only revoked or
                   awaits it
``sent``           created_at, priority, queue, task name
``eta``            when it is due
``root_id``        of the tree of tasks it belongs to
``parent_id``      of the task that sent it
``claim``          round, token, worker; absent until the first claim. No token: nobody holds it.
                   It stays after the end, so that a repeated `Finish` knows its own
``replays``        how often it was put back from the dead; absent: never
``deaths``         how often a worker died while it ran the task; absent: never
``run``            attempts, started_at, finished_at of the last run
``progress``       number; ``message``, ``stage``: text; ``meta``: JSON: of the last `Progress`
``result``         when it expires, and the JSON text; or ``@`` when that is in ``cifra:r:<id>``
``error``          JSON text; empty: none
``flags``          letters, most records have none: ``r`` revoked · ``s`` failed only because the
                   publish was not confirmed, a claim revives it · ``h`` the hand-over is still
                   owed · ``g`` the result was staged before the end · ``w`` watched
``channels``       who wants news
=================  ==========================================================================

The script builds the keys itself, from ids in its argument: one Redis primary (with or without
replicas), not a Redis Cluster.
"""

from __future__ import annotations

__all__ = ["INLINE_RESULT_CHARS", "REVOKE_UNKNOWN_MS", "WATCH_UNKNOWN_MS", "channel", "result"]

#: A result of at most this many characters is kept inside the record and travels in the news.
INLINE_RESULT_CHARS = 512
#: How long a revoke flag waits for a task that nobody has heard of (7 days): longer than any
#: sender's write can be late.
REVOKE_UNKNOWN_MS = 7 * 24 * 3600 * 1000
#: How long a watch waits for a task that nobody has heard of (1 hour).
WATCH_UNKNOWN_MS = 3600 * 1000


def channel(namespace: str, name: str) -> str:
    """The pub/sub channel called ``name``."""
    return f"{namespace}:c:{name}"


def result(namespace: str, task_id: str) -> str:
    """The key of a large result."""
    return f"{namespace}:r:{task_id}"
