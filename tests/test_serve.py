"""The way in: ports, messages, and that nothing is left running."""

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import nbformat
import psutil
import pytest

from insitu_widgets import serve

COMMAND = [sys.executable, "-m", "insitu_widgets.serve"]
READY = "The explorer is ready: http://127.0.0.1:"


def write_notebook(folder, code):
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_code_cell(code)]
    path = folder / "page.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


def run(*arguments):
    return subprocess.run([*COMMAND, *arguments], check=False, capture_output=True, text=True)


@contextmanager
def started(notebook, *arguments):
    """The command, running, with its page open."""
    port = str(serve._free_port())
    process = subprocess.Popen(
        [*COMMAND, "--port", port, "--notebook", str(notebook), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = ""
        while not line.startswith(READY):
            line = process.stdout.readline()
            assert line, process.stderr.read()
        assert line == f"{READY}{port}/  (Ctrl-C stops it)\n"
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def kernels(process):
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if "ipykernel_launcher" in child.cmdline()]


def wait_for_kernel(process):
    """Wait until the pool has its kernel, a second after the first page was opened."""
    limit = time.monotonic() + 30
    while not kernels(process):
        assert time.monotonic() < limit
        time.sleep(0.1)


@pytest.fixture
def taken_port():
    with socket.create_server((serve.HOST, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("text", ["1", "8866", "65535"])
def test_a_port_is_a_whole_number_in_its_range(text):
    assert serve.parse_port(text) == int(text)


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "80.0", "8866x", "eight", "²"])
def test_what_is_no_port_is_refused_with_the_remedy(text):
    with pytest.raises(serve.ServeError, match=r"from 1 to 65535, for example make .* PORT="):
        serve.parse_port(text)


def test_a_taken_port_is_named_with_a_free_one(taken_port):
    with pytest.raises(serve.ServeError) as caught:
        serve.require_free(taken_port)
    text = str(caught.value)
    assert text.startswith(f"Port {taken_port} is already in use")
    serve.require_free(int(text.rpartition("make dashboard PORT=")[2]))


@pytest.mark.parametrize("arguments", [["--port", "99999"], ["--notebook", "none.ipynb"]])
def test_a_wrong_argument_gives_one_sentence_and_no_traceback(arguments):
    done = run(*arguments)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert arguments[1] in done.stderr


def test_a_taken_port_ends_the_command_with_one_sentence(tmp_path, taken_port):
    notebook = write_notebook(tmp_path, "1")
    done = run("--port", str(taken_port), "--notebook", str(notebook))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "make dashboard PORT=" in done.stderr


def test_the_settings_reach_voila_and_a_jupyter_server_alike():
    printed = json.loads(run("--print-config").stdout)
    assert printed == serve.SETTINGS
    command = serve._command(8866, serve.NOTEBOOK, preheat=True)
    for owner, traits in printed.items():
        for name, value in traits.items():
            assert f"--{owner}.{name}={value}" in command
    assert "--VoilaConfiguration.preheat_kernel=True" in command
    assert "--Voila.ip=127.0.0.1" in command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_leaves_no_process(tmp_path, number):
    with started(write_notebook(tmp_path, "print('here')")) as process:
        wait_for_kernel(process)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "The explorer has stopped.\n", "")
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there are no hang-ups here")
def test_what_was_started_with_nohup_outlives_its_terminal(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; a child inherits it
    try:
        with started(write_notebook(tmp_path, "1"), "--no-preheat") as process:
            process.send_signal(signal.SIGHUP)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=1)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_without_preheating_no_kernel_waits(tmp_path):
    with started(write_notebook(tmp_path, "1"), "--no-preheat") as process:
        time.sleep(1.5)  # the pool would have been filled by now
        assert kernels(process) == []


def test_a_notebook_that_fails_is_said_to_fail(tmp_path):
    notebook = write_notebook(tmp_path, "raise RuntimeError('no such model')")
    done = run("--port", str(serve._free_port()), "--notebook", str(notebook))
    assert done.returncode == 1
    assert done.stderr.startswith("A cell of the notebook failed. Voilà wrote last:\n")
    assert "no such model" in done.stderr


def test_when_voila_dies_its_status_is_reported(tmp_path):
    with started(write_notebook(tmp_path, "1"), "--no-preheat") as process:
        (voila,) = psutil.Process(process.pid).children()
        voila.kill()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.startswith(f"Voilà ended by itself (status {-signal.SIGKILL}). Voilà wrote last")
