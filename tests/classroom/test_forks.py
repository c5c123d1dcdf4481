"""The dialogue with the warm process, spoken with one that has nothing to warm up."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import psutil
import pytest

from insitu_widgets.classroom import forks
from insitu_widgets.classroom.warm import ForkRefusedError, WarmProcess, can_fork, order_kernel
from tests.classroom.test_app import wait_until

pytestmark = pytest.mark.skipif(not can_fork(), reason="only Linux has pidfds")

#: Like forks.main, but its children only wait.
SERVER = """
import socket, sys, time
from insitu_widgets.classroom.forks import ForkServer
listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
listener.bind(sys.argv[1])
listener.listen()
print("ready", flush=True)
started = ForkServer(listener, 0).serve()
if started:
    sys.exit(7) if started[0].name == "end" else time.sleep(60)
"""


@pytest.fixture
def server(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, tmp_path / "s"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    process.stdout.readline()
    yield process
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


@pytest.fixture
def path(server, tmp_path):
    return str(tmp_path / "s")


def order(name="kernel"):
    return forks.Order(name, [], "/", {})


def test_a_child_is_in_a_group_of_its_own_from_the_first_moment(path):
    forked = order_kernel(path, order())
    assert os.getpgid(forked.pid) == forked.pid
    assert forked.poll() is None


def test_its_status_is_told_and_nothing_of_it_is_left(server, path):
    ended, killed = order_kernel(path, order("end")), order_kernel(path, order())
    assert ended.wait() == 7
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert psutil.Process(server.pid).children() == []
    killed.send_signal(signal.SIGTERM)  # harmless, whoever may have that number now


def test_a_child_inherits_nothing_of_its_siblings(server, path):
    forked = [order_kernel(path, order()) for _ in range(4)]
    # stdin, stdout, stderr, and its own connection
    wait_until(lambda: all(psutil.Process(each.pid).num_fds() == 4 for each in forked))


def test_a_connection_that_closes_ends_its_child_and_no_other(server, path):
    first, second = order_kernel(path, order()), order_kernel(path, order())
    first._connection.close()
    wait_until(
        lambda: [child.pid for child in psutil.Process(server.pid).children()] == [second.pid]
    )
    assert second.poll() is None


def test_the_end_of_the_lifeline_ends_everything(server, path):
    forked = order_kernel(path, order())
    server.stdin.close()
    assert server.wait(10) == 0
    assert forked.wait() == -signal.SIGKILL


def test_children_outlive_a_warm_process_that_was_killed(server, path):
    forked = order_kernel(path, order())
    server.kill()
    server.wait()
    assert forked.poll() is None
    # Refused; or reset, where the child had not let go of its copy of the listener yet.
    with pytest.raises((ConnectionRefusedError, ConnectionResetError)):
        order_kernel(path, order())
    forked.kill()
    assert forked.wait() == -signal.SIGKILL


@pytest.mark.parametrize("message", [b"", b"{", b"[]", b'{"name": "kernel"}'])
def test_an_order_that_cannot_be_read_is_refused_and_forgotten(path, message):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(path)
        client.send(message)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(100) == b""
    assert order_kernel(path, order("end")).wait() == 7


def test_more_than_one_thread_is_never_forked(tmp_path):
    read, write = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        done = threading.Event()
        server = forks.ForkServer(listener, read)
        refusals = []

        def ask():
            try:
                order_kernel(str(tmp_path / "s"), order())
            except ForkRefusedError as error:
                refusals.append(str(error))
            done.set()

        threading.Thread(target=ask).start()
        assert server._answer() is None
        done.wait(10)
    os.close(read)
    os.close(write)
    (refusal,) = refusals
    assert "threads, and only one can be forked" in refusal


def test_an_order_is_what_was_ordered():
    sent = forks.Order("kernel-1", ["-f", "x.json"], "/srv", {"A": "ü\n"})
    assert forks.Order(**json.loads(sent.encode())) == sent


def test_a_warm_process_that_cannot_start_is_not_waited_for(tmp_path):
    warm = WarmProcess(tmp_path / "no such folder" / "s")
    assert not warm.wait_until_ready()
    warm.stop()
    assert not warm.alive
