"""CPU, memory and connections of process trees, read from /proc."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

#: The kernel's unit of CPU time in /proc, ticks a second.
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

#: The state column of /proc/net/tcp for an open connection.
ESTABLISHED = "01"


@dataclass(frozen=True)
class ProcessStat:
    """What /proc/<pid>/stat says that matters here.

    Attributes:
        pid: The process.
        parent: Its parent.
        cpu_s: User and system time, of its own and of children it has already waited for.
    """

    pid: int
    parent: int
    cpu_s: float


def parse_stat(text: str) -> ProcessStat:
    """Read one line of /proc/<pid>/stat; the command name may hold blanks and brackets."""
    pid, rest = text.split(" (", 1)
    fields = rest.rpartition(") ")[2].split()
    ticks = sum(int(field) for field in fields[11:15])
    return ProcessStat(int(pid), int(fields[1]), ticks / TICKS_PER_SECOND)


def parse_pss_mb(text: str) -> float:
    """The proportional set size in /proc/<pid>/smaps_rollup, in MB of 10^6 bytes."""
    match = re.search(r"^Pss:\s+(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 / 1e6 if match else 0.0


def parse_connected_inodes(text: str, port: int) -> set[str]:
    """Socket inodes in /proc/net/tcp connected *to* `port`."""
    inodes = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        remote_port = int(fields[2].rpartition(":")[2], 16)
        if remote_port == port and fields[3] == ESTABLISHED:
            inodes.add(fields[9])
    return inodes


def process_tree(roots: Iterable[int]) -> list[ProcessStat]:
    """The living processes among `roots` and all their descendants."""
    stats = {stat.pid: stat for stat in _all_stats()}
    children = defaultdict(list)
    for stat in stats.values():
        children[stat.parent].append(stat.pid)
    pending, tree = list(dict.fromkeys(roots)), {}
    while pending:
        pid = pending.pop()
        if pid in stats and pid not in tree:
            tree[pid] = stats[pid]
            pending += children[pid]
    return list(tree.values())


def cpu_s(roots: Iterable[int]) -> float:
    """CPU seconds that these process trees have used since they started."""
    return sum(stat.cpu_s for stat in process_tree(roots))


def pss_mb(roots: Iterable[int]) -> float:
    """Memory of these process trees, shared pages counted in proportion, in MB."""
    files = (PROC / str(stat.pid) / "smaps_rollup" for stat in process_tree(roots))
    return sum(parse_pss_mb(_read(file)) for file in files)


def is_frozen(pid: int) -> bool:
    """Whether every thread of a process stands still after a SIGSTOP, or the process is gone."""
    texts = [_read(thread / "stat") for thread in (PROC / str(pid) / "task").glob("*")]
    return all(text.rpartition(") ")[2].startswith("T") for text in texts if text)


def connection_count(roots: Iterable[int], port: int) -> int:
    """Open TCP connections from these process trees to `port` of this machine."""
    tables = _read(PROC / "net" / "tcp"), _read(PROC / "net" / "tcp6")
    inodes = set().union(*(parse_connected_inodes(table, port) for table in tables))
    sockets = set()
    for stat in process_tree(roots):
        sockets |= _socket_inodes(stat.pid)
    return len(inodes & sockets)


class Meter:
    """CPU used by named groups of processes between two moments.

    Args:
        groups: For each name, what gives the root processes at that moment.
    """

    def __init__(self, groups: dict[str, Callable[[], Iterable[int]]]) -> None:
        self._groups = groups
        self._begin: dict[str, float] = {}

    def start(self) -> None:
        """Begin counting."""
        self._begin = self._read_all()

    def stop(self) -> dict[str, float]:
        """CPU seconds of each group since `start`."""
        return {name: now - self._begin[name] for name, now in self._read_all().items()}

    def _read_all(self) -> dict[str, float]:
        return {name: cpu_s(roots()) for name, roots in self._groups.items()}


def _all_stats() -> Iterable[ProcessStat]:
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (text := _read(folder / "stat")):
            yield parse_stat(text)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # The process ended between being listed and being read.


def _socket_inodes(pid: int) -> set[str]:
    inodes = set()
    for link in (PROC / str(pid) / "fd").glob("*"):
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue  # Closed between being listed and being read.
        if target.startswith("socket:["):
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    return inodes
