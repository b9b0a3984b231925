"""Private servers start, keep their data and port, and never outlive their parent."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifra_jobs.dev import PrivateRabbitmq, PrivateRedis
from cifra_jobs.errors import ServerUnavailable


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[PrivateRabbitmq]:
    with PrivateRabbitmq() as server:
        yield server


def ask_redis(server: PrivateRedis, command: str) -> str:
    with socket.create_connection((server.host, server.port), 5) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.makefile("rb").readline().decode().strip()


def test_redis_keeps_port_and_data_over_stop_and_restart() -> None:
    with PrivateRedis() as server:
        port = server.port
        assert ask_redis(server, "SET color green") == "+OK"
        server.restart()
        assert server.port == port
        assert ask_redis(server, "STRLEN color") == ":5"
        server.stop()
        assert not server.is_running
        with pytest.raises(ConnectionRefusedError):
            ask_redis(server, "PING")


def test_redis_comes_back_after_a_kill() -> None:
    with PrivateRedis() as server:
        first = server.pid
        server.kill()
        assert not server.is_running
        server.start()
        assert server.pid != first
        assert ask_redis(server, "PING") == "+PONG"


def test_redis_never_evicts_and_appends_each_second() -> None:
    with PrivateRedis() as server, socket.create_connection((server.host, server.port), 5) as s:
        s.sendall(b"CONFIG GET maxmemory-policy appendonly appendfsync\r\n")
        answer = s.recv(4096)
        for value in (b"noeviction", b"yes", b"everysec"):
            assert value in answer


def test_closing_removes_the_data_and_the_process() -> None:
    server = PrivateRedis()
    server.start()
    pid, directory = server.pid, server.directory
    server.close()
    server.close()
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ServerUnavailable, match="not running"):
        _ = server.pid


def test_a_server_that_does_not_come_up_shows_the_end_of_its_log() -> None:
    server = PrivateRedis(config={"appendfsync": "sometimes"})
    with pytest.raises(ServerUnavailable, match=r"(?s)exit code 1.*argument.*must be one of"):
        server.start()
    server.close()


def test_a_server_started_in_a_thread_outlives_the_thread() -> None:
    server = PrivateRedis()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()
    try:
        assert ask_redis(server, "PING") == "+PONG"
        assert server.is_running
    finally:
        server.close()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_servers_die_with_their_parent(end: signal.Signals, tmp_path: Path) -> None:
    program = (
        "import sys; from cifra_jobs.dev import PrivateRedis, PrivateRabbitmq;"
        "a = PrivateRedis(); a.start(); b = PrivateRabbitmq(plugins=()); b.start();"
        "print(a.pid, b.pid, b._port_mapper.pid, b.directory, a.directory, flush=True);"
        "sys.stdin.read()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        words = parent.stdout.readline().split()
        watched = [os.pidfd_open(int(pid)) for pid in words[:3]]
        parent.send_signal(end)
    for process in watched:
        # A pidfd becomes readable when its process has ended.
        ended = os.fdopen(process, "rb", buffering=0)
        with ended:
            assert _readable(process, timeout=20)


def _readable(descriptor: int, *, timeout: float) -> bool:
    return bool(select.select([descriptor], [], [], timeout)[0])


@pytest.mark.timeout(120)
def test_rabbitmq_keeps_port_and_durable_queues_over_a_kill(rabbitmq: PrivateRabbitmq) -> None:
    port = rabbitmq.port
    rabbitmq.rabbitmqctl(
        "eval",
        'rabbit_amqqueue:declare({resource, <<"/">>, queue, <<"kept">>}, '
        'true, false, [], none, <<"test">>).',
    )
    rabbitmq.kill()
    assert not rabbitmq.is_running
    rabbitmq.start()
    assert rabbitmq.port == port
    assert "kept" in rabbitmq.rabbitmqctl("list_queues", "name")


def test_rabbitmq_listens_on_this_machine_only(rabbitmq: PrivateRabbitmq) -> None:
    listeners = rabbitmq.rabbitmqctl("eval", "rabbit_networking:active_listeners().")
    assert str(rabbitmq.port) in listeners
    assert "{0,0,0,0}" not in listeners
    everywhere = {"00000000", "0" * 32}
    listening = {
        (fields[1].split(":")[0], int(fields[1].split(":")[1], 16))
        for table in ("tcp", "tcp6")
        for fields in map(
            str.split, Path(f"/proc/{rabbitmq.pid}/net/{table}").read_text().splitlines()[1:]
        )
        if fields[3] == "0A"
    }
    assert not {p for host, p in listening if host in everywhere} & set(range(20_000, 32_000))


def test_rabbitmq_says_its_version_and_serves_its_api(rabbitmq: PrivateRabbitmq) -> None:
    assert rabbitmq.version.split(".")[0].isdigit()
    assert rabbitmq.management_url.startswith("http://guest:guest@127.0.0.1:")


def test_a_failed_rabbitmqctl_says_why(rabbitmq: PrivateRabbitmq) -> None:
    with pytest.raises(ServerUnavailable, match=r"(?s)delete_user nobody failed: .*does not exist"):
        rabbitmq.rabbitmqctl("delete_user", "nobody")


def test_without_the_plugin_there_is_no_management_url() -> None:
    server = PrivateRabbitmq(plugins=())
    with pytest.raises(ServerUnavailable, match="rabbitmq_management"):
        _ = server.management_url
    server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_a_node_of_another_root_directory_starts_through_chroot() -> None:
    with PrivateRabbitmq(version_root=Path("/"), plugins=()) as server:
        assert server.is_running
        assert server.rabbitmqctl("list_vhosts", "name").split()[-1] == "/"


def test_a_root_directory_without_rabbitmq_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailable, match=f"No RabbitMQ is installed under {tmp_path}"):
        PrivateRabbitmq(version_root=tmp_path)
