"""The dashboard as on Binder: one core, 2 GB, a Jupyter server that has just been launched.

The limits are a control group's, where one may be made (version 1, as root); without one the
processes are held to one core and their memory is only measured.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.page import LIMIT_MS, PROBE, ROOT, SETTLED, browsing
from benchmarks.table import Row, below, timed
from insitu_widgets import serve
from tests.browser import conftest

MEMORY_BYTES = 2 * 2**30
GUARANTEED_MB = 1000.0  # what mybinder.org promises
GROUPS = {
    Path("/sys/fs/cgroup/memory/insitu-binder"): {"memory.limit_in_bytes": MEMORY_BYTES},
    Path("/sys/fs/cgroup/cpu/insitu-binder"): {"cpu.cfs_quota_us": 100_000},
}


def run(*, quick: bool) -> Iterator[Row]:
    """Launch, open the dashboard, use it; three times over."""
    starts, usables, estimates, memories = [], [], [], []
    faults: list[str] = []
    with limited() as how, browsing() as browser:
        for _ in range(1 if quick else 3):
            with launched() as (process, url, started):
                context = browser.new_context()
                context.add_init_script(path=PROBE)
                page = context.new_page()
                conftest._watch(page, faults)  # noqa: SLF001  (other machines, too)
                page.goto(url, wait_until="commit")
                marks = page.evaluate(f"probe.watchOpening('memory_bytes', {LIMIT_MS})")
                page.wait_for_function(SETTLED)
                starts.append(started)
                usables.append(started + marks["usable"] / 1e3)
                estimates.append(started + marks["estimate"] / 1e3)
                each = [process, *process.children(recursive=True)]
                memories.append(sum(one.memory_full_info().pss for one in each) / 1e6)
                context.close()
    yield timed(f"Binder ({how}): launch to the server", starts, "s")
    yield timed(f"Binder ({how}): launch to a usable dashboard", usables, "s")
    yield timed(f"Binder ({how}): launch to the first measured estimate", estimates, "s")
    most = max(memories)
    yield Row(
        "Binder: server and kernel, proportional share",
        f"{most:.0f} MB",
        below(GUARANTEED_MB, "MB"),
        most <= GUARANTEED_MB,
        wrong="; ".join(faults),
    )


@contextmanager
def limited() -> Iterator[str]:
    """Hold whatever is started within to one core and 2 GB; yields how, in words."""
    try:
        for group, values in GROUPS.items():
            group.mkdir()
            for name, value in values.items():
                (group / name).write_text(str(value))
        yield "one core and 2 GB, by control groups"
    except OSError:
        yield "one core"
    finally:
        for group in GROUPS:
            with suppress(OSError):
                group.rmdir()


def _enter() -> None:
    """In the process to be: join the groups; else keep to one core."""
    for group in GROUPS:
        if not group.is_dir():
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            return
        (group / "cgroup.procs").write_text(str(os.getpid()))


@contextmanager
def launched() -> Iterator[tuple[psutil.Process, str, float]]:
    """A Jupyter server started through ``binder/start``, its page, and how long it took."""
    port = serve._free_port()  # noqa: SLF001
    with TemporaryDirectory() as folder:
        config = [sys.executable, "-m", "insitu_widgets.serve", "--print-config"]
        written = subprocess.run(config, cwd=ROOT, check=True, capture_output=True).stdout
        (Path(folder) / "jupyter_server_config.json").write_bytes(written)
        traits = {"port": port, "port_retries": 0, "ip": serve.HOST, "open_browser": False}
        command = [sys.executable, "-m", "jupyterlab", "--allow-root", "--IdentityProvider.token="]
        start = time.perf_counter()
        process = subprocess.Popen(
            [
                str(ROOT / "binder" / "start"),
                *command,
                *(f"--ServerApp.{name}={value}" for name, value in traits.items()),
            ],
            cwd=ROOT,
            env={**os.environ, "JUPYTER_CONFIG_DIR": folder},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_enter,  # noqa: PLW1509  (no thread of ours runs)
        )
        try:
            while serve._bind_fault(port) is None:  # noqa: SLF001
                assert process.poll() is None, "the Jupyter server has ended"
                time.sleep(0.05)
            started = time.perf_counter() - start
            page = f"http://{serve.HOST}:{port}/voila/render/notebooks/dashboard.ipynb"
            yield psutil.Process(process.pid), page, started
        finally:
            process.terminate()
            process.wait(30)
