"""CPU, memory and connections are read rightly from /proc."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from benchmarks.harness import accounting
from benchmarks.harness.accounting import Meter

BUSY = "s = sum(range(6_000_000)); print(flush=True); input()"


def test_cpu_counts_user_and_system_time_and_that_of_reaped_children() -> None:
    fields = "S 7 1 1 0 -1 0 1 2 3 4 100 50 20 30 20 0 5"
    stat = accounting.parse_stat(f"42 (a (strange) name) {fields}")
    assert (stat.pid, stat.parent) == (42, 7)
    assert stat.cpu_s == 200 / accounting.TICKS_PER_SECOND


def test_memory_is_the_proportional_set_size() -> None:
    text = "00 ---p [rollup]\nRss:  9000 kB\nPss:  2000 kB\nPss_Dirty:  10 kB\n"
    assert accounting.parse_pss_mb(text) == 2.048


def test_only_open_connections_to_the_port_count() -> None:
    text = (
        "sl local rem st tx:rx tr:tm retr uid timeout inode\n"
        "0: 0100007F:9C40 0100007F:1628 01 0:0 0:0 0 0 0 11 1\n"
        "1: 0100007F:1628 0100007F:9C40 01 0:0 0:0 0 0 0 12 1\n"
        "2: 0100007F:9C41 0100007F:1628 06 0:0 0:0 0 0 0 13 1\n"
    )
    assert accounting.parse_connected_inodes(text, 0x1628) == {"11"}


def test_a_meter_counts_the_work_of_a_child_process() -> None:
    meter = Meter({"child": lambda: [child.pid], "nobody": list})
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        meter.start()
        assert child.stdout
        child.stdout.readline()
        used = meter.stop()
        assert child.stdin
        child.stdin.close()
    assert used["child"] > 0
    assert used["nobody"] == 0


def test_a_tree_holds_children_and_their_memory() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        pids = {stat.pid for stat in accounting.process_tree([os.getpid()])}
        assert {os.getpid(), child.pid} <= pids
        assert accounting.pss_mb([child.pid]) > 0
        assert child.stdin
        child.stdin.close()


def test_an_open_connection_of_this_process_is_counted_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert accounting.connection_count([os.getpid()], port) == 0
        with socket.create_connection(("127.0.0.1", port)):
            assert accounting.connection_count([os.getpid()], port) == 1


def test_a_process_is_frozen_once_it_has_taken_the_signal() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert not accounting.is_frozen(child.pid)
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        assert accounting.is_frozen(child.pid)
        child.send_signal(signal.SIGCONT)
        assert child.stdin
        child.stdin.close()
