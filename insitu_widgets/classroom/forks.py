"""One warm process that has imported everything, and is forked for each kernel.

A kernel that starts by itself spends seconds of processor time on importing torch, and holds what
it imported alone. A forked one starts within a fraction of a second, and shares every page of
memory that neither side has written since.

A fork copies the calling thread only: a lock that another thread held would stay locked for ever.
So the warm process starts no thread (one thread for torch, no socket of ZeroMQ, no event loop),
looks before each fork whether that still holds, and refuses to fork if it does not; the kernel is
then started in the usual way (see ``provisioner``). Linux only: it needs pidfds and ``/proc``.

The dialogue, over one Unix socket of whole messages (``SOCK_SEQPACKET``) a kernel:

1. the client sends an order: JSON of ``name``, ``argv``, ``cwd`` and ``env``;
2. the answer is JSON of ``pid`` with the pidfd attached, or of ``refused`` with the reason;
3. when the kernel has ended, JSON of ``status`` as ``Popen.returncode`` gives it.

Whoever closes the connection gives the kernel up: it is killed. Standard input is the lifeline, a
socket: the warm process says ``READY`` there, and ends when it is closed.
"""

from __future__ import annotations

import gc
import json
import os
import secrets
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

#: Largest order: an environment and an argument list are far smaller.
ORDER_BYTES = 1 << 20
READY = b"ready"
_PATIENCE_S = 5.0  # for a client that has connected and says nothing


@dataclass(frozen=True)
class Order:
    """What a kernel needs to start: as ``subprocess.Popen`` would be given it.

    ``argv`` are the arguments of the kernel itself (``["-f", connection_file]``); ``name`` is shown
    by ``ps`` and ``top`` (15 characters).
    """

    name: str
    argv: list[str]
    cwd: str
    env: dict[str, str]

    def encode(self) -> bytes:
        """The order as a message."""
        return json.dumps(asdict(self)).encode()


@dataclass(frozen=True)
class _Child:
    pid: int
    pidfd: int
    client: socket.socket


class ForkServer:
    """Forks this process on demand.

    Parameters
    ----------
    listener
        A listening Unix socket of whole messages.
    lifeline
        A file descriptor at whose end the server ends.
    """

    def __init__(self, listener: socket.socket, lifeline: int) -> None:
        self._listener = listener
        self._lifeline = lifeline
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._answer)
        self._selector.register(lifeline, selectors.EVENT_READ)

    def serve(self) -> tuple[Order, socket.socket] | None:
        """Fork for whoever asks.

        Returns
        -------
        tuple of Order and socket, or None
            In a child: what it is to do, and the connection at whose end it must end. In the
            server itself: None, at the end of the lifeline, when it has killed every child.
        """
        while True:
            events = self._selector.select()
            if any(key.fileobj == self._lifeline for key, _ in events):
                for child in self._children.values():
                    _kill(child.pid)
                return None
            for key, _ in events:
                started = key.data()
                if started:
                    return started

    def _answer(self) -> tuple[Order, socket.socket] | None:
        client, _ = self._listener.accept()
        client.settimeout(_PATIENCE_S)
        try:
            order = Order(**json.loads(client.recv(ORDER_BYTES)))
            threads = sum(1 for _ in Path("/proc/self/task").iterdir())
            if threads != 1:
                refused = f"the warm process has {threads} threads, and only one can be forked"
                client.send(json.dumps({"refused": refused}).encode())
        except (OSError, ValueError, TypeError) as error:
            sys.stderr.write(f"A kernel was ordered in a way that cannot be read: {error!r}\n")
            threads = 0
        if threads != 1:
            client.close()
            return None
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._leave()
            client.setblocking(True)
            return order, client
        self._adopt(pid, client)
        return None

    def _adopt(self, pid: int, client: socket.socket) -> None:
        with suppress(OSError):  # it has done so itself, and may have ended
            os.setpgid(pid, pid)
        child = _Child(pid, os.pidfd_open(pid), client)
        client.setblocking(False)
        self._children[pid] = child
        self._selector.register(child.pidfd, selectors.EVENT_READ, partial(self._reap, child))
        self._selector.register(client, selectors.EVENT_READ, partial(self._give_up, child))
        with suppress(OSError):  # the client has gone: the selector tells next
            socket.send_fds(client, [json.dumps({"pid": pid}).encode()], [child.pidfd])

    def _reap(self, child: _Child) -> None:
        _, status = os.waitpid(child.pid, 0)
        with suppress(OSError):  # nobody may want to know
            child.client.send(json.dumps({"status": os.waitstatus_to_exitcode(status)}).encode())
        del self._children[child.pid]
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        with suppress(KeyError):  # it was given up
            self._selector.unregister(child.client)
        child.client.close()

    def _give_up(self, child: _Child) -> None:
        if child.pid in self._children:  # else it was reaped in this very round
            self._selector.unregister(child.client)
            _kill(child.pid)

    def _leave(self) -> None:
        """In a child: let go of all that is the server's."""
        os.setpgid(0, 0)
        self._selector.close()
        self._listener.close()
        for child in self._children.values():
            child.client.close()
            os.close(child.pidfd)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, self._lifeline)
        os.close(nothing)


def _kill(pid: int) -> None:
    """End a child that has not been reaped, and whatever it has started."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def warm_up() -> None:
    """Import what a kernel of the course needs, and use it once, in one thread.

    What is loaded lazily is loaded now: every panel's module, each shipped root, the images, the
    kernels of torch that a measurement takes, Plotly's script.
    """
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)  # before anything could start others
    for name in ("anywidget", "ipykernel.ipkernel", "ipykernel.kernelapp", "IPython.core.history"):
        import_module(name)
    from insitu_widgets.cards import ROOTS  # noqa: PLC0415
    from insitu_widgets.explorer import classwork, course  # noqa: PLC0415
    from insitu_widgets.explorer.charts import plotly_source  # noqa: PLC0415
    from insitu_widgets.explorer.state import Explorer  # noqa: PLC0415
    from insitu_widgets.network.situation import Situation  # noqa: PLC0415

    for room in (course, classwork):
        for module in iter_modules(room.__path__, f"{room.__name__}."):
            import_module(module.name)
    plotly_source()
    for name, card in ROOTS.items():
        if card.data == "digits":
            Explorer(Situation(root=name))  # measures, here and now


def run_kernel(order: Order, client: socket.socket) -> None:
    """Be the kernel that was ordered; returns when it is shut down."""
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415

    gc.enable()
    Path("/proc/self/comm").write_text(order.name, encoding="utf-8")
    os.chdir(order.cwd)
    os.environ.clear()
    os.environ.update(order.env)
    sys.argv = ["ipykernel_launcher", *order.argv]
    np.random.seed(secrets.randbits(32))  # noqa: NPY002  (the one that all forks would share)
    torch.manual_seed(secrets.randbits(63))  # Python's own is seeded anew by every fork

    import ipywidgets  # noqa: PLC0415
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415
    from tornado.ioloop import IOLoop  # noqa: PLC0415

    app = IPKernelApp.instance(parent_handle=1)  # 1: whose parent it need not watch
    app.initialize(order.argv)
    ipywidgets.register_comm_target()  # which its import could not do, before there was a kernel
    IOLoop.current().add_handler(client, lambda *_: os._exit(1), IOLoop.READ)
    app.start()


def main() -> None:
    """Warm up, say so, and fork until standard input ends."""
    (path,) = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mask = os.umask(0o177)  # the socket is for this user alone
    listener.bind(path)
    os.umask(mask)
    warm_up()
    gc.collect()
    gc.freeze()  # else the first collection in a child would touch, and so copy, every object
    gc.disable()
    listener.listen()
    os.write(sys.stdin.fileno(), READY)
    started = ForkServer(listener, sys.stdin.fileno()).serve()
    if started:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run_kernel(*started)


if __name__ == "__main__":
    main()
