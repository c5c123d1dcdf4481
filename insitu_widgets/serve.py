"""Open the dashboard in a browser: start Voilà, wait until its page is there, say where.

``python -m insitu_widgets.serve`` (which is what ``make dashboard`` runs) starts Voilà on this
machine only, opens the page once itself, so that whatever can fail has failed by then, and prints
its address. Ctrl-C stops Voilà and every kernel that it started.

The settings stand once, in ``SETTINGS``; ``--print-config`` writes them for a Jupyter server that
has Voilà as an extension, as on Binder.
"""

from __future__ import annotations

import argparse
import errno
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from http import HTTPStatus
from pathlib import Path
from typing import IO, NoReturn

from insitu_widgets.cpus import usable_cpus

HOST = "127.0.0.1"
NOTEBOOK = Path("notebooks") / "dashboard.ipynb"

SETTINGS: dict[str, dict[str, bool | int | str]] = {
    "VoilaConfiguration": {
        "template": "insitu",
        "strip_sources": True,
        "show_tracebacks": False,
        "allow_template_override": "NO",
        "allow_theme_override": "NO",
    },
    # A cell that runs for two minutes is interrupted, and the page says so.
    "VoilaExecutor": {"timeout": 120},
    # A kernel whose page went without a word (a crash, a lost network) goes after five minutes.
    "MappingKernelManager": {
        "cull_idle_timeout": 300,
        "cull_interval": 30,
        "cull_connected": False,
    },
}

_PORT_LAST = 65535
_PAGE_LIMIT_S = 300.0  # for the first page: imports from a cold disk, on a slow machine
_STOP_LIMIT_S = 15.0
_LAST_LINES = 20
_CELL_FAILED = "There was an error when executing cell"  # Voilà writes it into the page


class ServeError(Exception):
    """The explorer cannot be opened; the message says why and what to do."""


def main(argv: list[str] | None = None) -> None:
    """Read the command line and serve until Ctrl-C."""
    options = _parser().parse_args(argv)
    if options.print_config:
        print(json.dumps(SETTINGS, indent=2))
        return
    # A closed terminal and `kill` end the explorer as Ctrl-C does.
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as of nohup
            signal.signal(number, signal.default_int_handler)
    try:
        port = parse_port(options.port)
        serve(port, notebook=options.notebook, preheat=options.preheat)
    except ServeError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("The explorer has stopped.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m insitu_widgets.serve",
        description="Open the In-situ Explorer in a browser.",
    )
    parser.add_argument("--port", default="8866", help="port on this machine (default 8866)")
    parser.add_argument(
        "--notebook", type=Path, default=NOTEBOOK, help=f"page to serve (default {NOTEBOOK})"
    )
    parser.add_argument(
        "--no-preheat",
        dest="preheat",
        action="store_false",
        help="do not keep one kernel ready for the next visitor",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print the settings for a Jupyter server, as JSON",
    )
    return parser


def serve(port: int, notebook: Path = NOTEBOOK, *, preheat: bool = True) -> NoReturn:
    """Serve ``notebook`` on ``port`` of this machine; returns only by an exception.

    ``KeyboardInterrupt`` when the user stops it, ``ServeError`` when it cannot start or Voilà ends
    by itself.
    """
    if not notebook.is_file():
        message = (
            f"There is no notebook {notebook}. "
            "Run this from the root of the repository, or name the notebook with --notebook."
        )
        raise ServeError(message)
    require_free(port)
    print("Opening the explorer ...", flush=True)
    voila = _Voila(port, notebook, preheat=preheat)
    try:
        _shut_down_kernel(port, voila.first_page())
        print(f"The explorer is ready: http://{HOST}:{port}/  (Ctrl-C stops it)", flush=True)
        voila.wait()
    finally:
        voila.stop()


def parse_port(text: str) -> int:
    """Return the port that ``text`` names, or raise ``ServeError``.

    >>> parse_port("8866")
    8866
    """
    if text.isdecimal() and 1 <= int(text) <= _PORT_LAST:
        return int(text)
    message = (
        f"{text!r} is not a port: give a whole number from 1 to {_PORT_LAST}, "
        "for example make dashboard PORT=8867."
    )
    raise ServeError(message)


def require_free(port: int, command: str = "make dashboard") -> None:
    """Raise ``ServeError``, with a ``command`` that works, unless one may listen on ``port``."""
    fault = _bind_fault(port)
    if fault is None:
        return
    if fault == errno.EADDRINUSE:
        reason = "is already in use on this machine"
    else:
        reason = f"cannot be used ({os.strerror(fault)})"
    message = f"Port {port} {reason}; choose another one: {command} PORT={_free_port()}"
    raise ServeError(message)


def _bind_fault(port: int) -> int | None:
    """The error number with which ``port`` refuses a listener; None when it takes one."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # On macOS one may bind beside a server on all addresses, so ask whether someone answers.
        if probe.connect_ex((HOST, port)) == 0:
            return errno.EADDRINUSE
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # else a port whose last connection just closed counts as taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.errno
    return None


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _command(port: int, notebook: Path, *, preheat: bool) -> list[str]:
    """The command line of Voilà."""
    place: dict[str, dict[str, bool | int | str]] = {
        "Voila": {"ip": HOST, "port": port, "port_retries": 0, "log_level": "WARN"},
        "VoilaConfiguration": {"preheat_kernel": preheat, "default_pool_size": 1},
    }
    flags = [
        f"--{owner}.{name}={value}"
        for settings in (place, SETTINGS)
        for owner, traits in settings.items()
        for name, value in traits.items()
    ]
    server = "insitu_widgets.page_server"
    return [sys.executable, "-m", server, str(notebook), "--no-browser", *flags]


class _Voila:
    """Voilà in a process of its own; its errors are passed on, and its last lines are kept."""

    def __init__(self, port: int, notebook: Path, *, preheat: bool) -> None:
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(usable_cpus()))
        self._port = port
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._passes_on = False  # from the first page on, until it is stopped
        self._process = subprocess.Popen(
            _command(port, notebook, preheat=preheat),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # Ctrl-C reaches us alone; we stop Voilà in good order
        )
        assert self._process.stdout is not None
        output = self._process.stdout
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[str]) -> None:
        serious = False  # a traceback follows its line and carries no level of its own
        for line in output:
            self._lines.append(line)
            level = re.match(r"\[\w+\] (\w+) ", line)
            if level:
                serious = level[1] in {"ERROR", "CRITICAL"}
            if serious and self._passes_on:
                sys.stderr.write(line)

    def first_page(self) -> str:
        """Open the page as a visitor would, as soon as Voilà listens; return its HTML."""
        status, page = self._first_answer()
        if status != HTTPStatus.OK:
            fault = f"Voilà answers with status {status} instead of the page."
        elif _CELL_FAILED in page:
            fault = "A cell of the notebook failed."
        else:
            self._passes_on = True
            return page
        raise self._failure(fault)

    def _first_answer(self) -> tuple[int, str]:
        limit = time.monotonic() + _PAGE_LIMIT_S
        fault = f"Voilà did not listen on port {self._port} within {_PAGE_LIMIT_S:.0f} s."
        while time.monotonic() < limit:
            if self._process.poll() is not None:
                fault = f"Voilà ended (status {self._process.returncode}) before it had a page."
                break
            try:
                return _request(self._port, "GET", "/")
            except ConnectionRefusedError:  # it does not listen yet
                time.sleep(0.1)
            except (OSError, http.client.HTTPException) as error:
                fault = f"Voilà broke off while it made the page ({error!r})."
                break
        raise self._failure(fault)

    def wait(self) -> NoReturn:
        """Wait until Voilà ends, which it should not do by itself."""
        fault = f"Voilà ended by itself (status {self._process.wait()})."
        raise self._failure(fault)

    def _failure(self, fault: str) -> ServeError:
        """Stop Voilà; the error to raise says the fault and then what Voilà wrote last."""
        self._reader.join(0.2)  # it may be a line behind
        lines = "".join(self._lines) or "(nothing)\n"
        self.stop()
        return ServeError(f"{fault} Voilà wrote last:\n{lines}")

    def stop(self) -> None:
        """End Voilà, which ends its kernels; harmless when it has ended."""
        self._passes_on = False
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1.0)


def _request(
    port: int, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    """The status and the text of Voilà's answer."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_PAGE_LIMIT_S)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def _shut_down_kernel(port: int, page: str) -> None:
    """End the kernel behind ``page``, which no browser shows: it would idle until it is culled."""
    found = re.search(r'"kernelId": ?"([\w-]+)"', page)
    if found is None:
        message = "The page names no kernel; is the notebook one that Voilà can run?"
        raise ServeError(message)
    token = secrets.token_hex(16)  # Voilà asks for the same token in a cookie and in a header
    headers = {"Cookie": f"_xsrf={token}", "X-XSRFToken": token}
    status, _ = _request(port, "POST", f"/voila/api/shutdown/{found[1]}", headers)
    if status != HTTPStatus.NO_CONTENT:
        message = f"Voilà did not end the kernel of its first page: it answered {status}."
        raise ServeError(message)


if __name__ == "__main__":
    main()
