"""The warm process, as the server sees it: start it, and have kernels forked from it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from insitu_widgets.classroom.forks import READY, Order

#: Without these, importing numpy or torch starts threads, and a process with threads is not forked.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_WARM_LIMIT_S = 120.0  # imports from a cold disk, on a slow machine
_STOP_LIMIT_S = 5.0
_ANSWER_LIMIT_S = 10.0
_MESSAGE_BYTES = 4096


class ForkRefusedError(Exception):
    """The warm process gives no kernel; the message says why."""


def can_fork() -> bool:
    """Whether this system has what forking needs (Linux has)."""
    return hasattr(os, "pidfd_open") and Path("/proc/self/task").is_dir()


class WarmProcess:
    """The warm process, listening at ``path``.

    Parameters
    ----------
    path
        Where its socket is to be; in a folder that only this user can enter.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        self._lifeline, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "insitu_widgets.classroom.forks", str(path)],
                stdin=theirs.fileno(),
                env={**os.environ, **_ONE_THREAD},
                start_new_session=True,  # Ctrl-C reaches the server alone
            )
        self.pid = self._process.pid

    def wait_until_ready(self) -> bool:
        """Wait until it can be asked for kernels; False if it has ended instead."""
        self._lifeline.settimeout(_WARM_LIMIT_S)
        try:
            return self._lifeline.recv(len(READY)) == READY
        except OSError:
            return False

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, and every kernel that it has forked; harmless when it has ended."""
        self._lifeline.close()
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.path.unlink(missing_ok=True)


class ForkedProcess:
    """A kernel that the warm process has forked, with the part of ``Popen`` that Jupyter uses."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, pidfd: int, connection: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._connection = connection
        connection.setblocking(False)

    def poll(self) -> int | None:
        """The exit status (negative: a signal's number), or None while it runs."""
        if self.returncode is not None:
            return self.returncode
        try:
            message = self._connection.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return None
        # Without a message both the kernel and the warm process, which knew the status, are gone.
        self.returncode = int(json.loads(message)["status"]) if message else -signal.SIGKILL
        self._connection.close()
        os.close(self._pidfd)
        return self.returncode

    def wait(self) -> int:
        """The exit status, as soon as there is one."""
        while (status := self.poll()) is None:
            time.sleep(0.01)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel alone, unless it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def order_kernel(path: str, order: Order) -> ForkedProcess:
    """Have the warm process that listens at ``path`` fork a kernel.

    Raises
    ------
    ForkRefusedError, OSError
        If there is no such process, or it does not fork.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(_ANSWER_LIMIT_S)
    try:
        connection.connect(path)
        connection.send(order.encode())
        message, pidfds, _, _ = socket.recv_fds(connection, _MESSAGE_BYTES, 1)
    except OSError:
        connection.close()
        raise
    if pidfds:
        return ForkedProcess(json.loads(message)["pid"], pidfds[0], connection)
    connection.close()
    reason = json.loads(message)["refused"] if message else "it cannot read the order"
    raise ForkRefusedError(reason)
