"""Who holds a TCP port, for an error that helps."""

from __future__ import annotations

from pathlib import Path

__all__ = ["holder_of"]

#: State of a listening socket in /proc/net/tcp.
_LISTEN = "0A"
_ADDRESS, _STATE, _INODE = 1, 3, 9


def holder_of(port: int) -> str:
    """The program that listens on a port of this machine: ``redis-server (pid 41)``.

    Where the kernel does not say (another user's process, another container) the answer is
    ``another program``.
    """
    inodes = {f"socket:[{inode}]" for inode in _listeners(port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(each.readlink()) in inodes for each in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8").strip()
                return f"{name} (pid {process.name})"
        except OSError:
            # It ended while we looked, or belongs to somebody else.
            continue
    return "another program"


def _listeners(port: int) -> set[str]:
    found: set[str] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        lines = table.read_text(encoding="ascii").splitlines()[1:] if table.exists() else []
        for line in lines:
            fields = line.split()
            if fields[_STATE] == _LISTEN and int(fields[_ADDRESS].rpartition(":")[2], 16) == port:
                found.add(fields[_INODE])
    return found
