"""Kernels forked from the real warm process, driven as Jupyter drives any kernel."""

import json
import os
import signal
import time
from contextlib import contextmanager

import psutil
import pytest
from jupyter_client import KernelManager

from insitu_widgets.classroom.provisioner import ForkProvisioner
from insitu_widgets.classroom.warm import WarmProcess, can_fork
from tests.classroom.test_app import wait_until

pytestmark = pytest.mark.skipif(not can_fork(), reason="only Linux has pidfds")
DRAW = "import numpy, random, torch; [random.random(), numpy.random.rand(), torch.rand(1).item()]"


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    process = WarmProcess(tmp_path_factory.mktemp("warm") / "s")
    assert process.wait_until_ready()
    yield process
    process.stop()


class Kernel:
    """A kernel and what it answers."""

    def __init__(self, manager):
        self.manager = manager
        self.client = manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=30)

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def value(self, code):
        """What the last expression of some code is."""
        found = []

        def hear(message):
            if message["msg_type"] == "execute_result":
                found.append(message["content"]["data"]["text/plain"])

        self.client.execute_interactive(code, output_hook=hear, timeout=30)
        return json.loads(found[0].replace("'", '"'))


@contextmanager
def kernel(socket, **options):
    manager = KernelManager(kernel_name="python3")
    manager.provisioner = ForkProvisioner(
        kernel_id="0123456789", kernel_spec=manager.kernel_spec, parent=manager, socket=str(socket)
    )
    manager.start_kernel(**options)
    running = Kernel(manager)
    try:
        yield running
    finally:
        running.client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_forked_kernel_runs_where_and_as_it_is_told(warm, tmp_path):
    with kernel(warm.path, cwd=str(tmp_path), env={**os.environ, "COURSE": "6G"}) as one:
        assert psutil.Process(one.pid).ppid() == warm.pid
        assert psutil.Process(one.pid).name() == "kernel-01234567"
        code = "import os; [os.getcwd(), os.environ['COURSE'], os.getpid()]"
        assert one.value(code) == [str(tmp_path), "6G", one.pid]


def test_no_other_user_can_ask_for_a_kernel(warm):
    assert warm.path.stat().st_mode & 0o777 == 0o600


def test_it_has_widgets_that_a_page_can_ask_for(warm):
    code = "import ipywidgets, comm; sorted(comm.get_comm_manager().targets)"
    with kernel(warm.path) as one:
        assert one.value(code) == ["jupyter.widget", "jupyter.widget.control"]
        # A widget made on import would be the warm process's: no page could reach it.
        assert one.value("len(ipywidgets.widgets.widget._instances)") == 0


def test_it_measures_in_one_thread(warm):
    code = "from insitu_widgets import Explorer; e = Explorer(); [e.estimate.seen, "
    with kernel(warm.path) as one:
        assert one.value(f"{code}__import__('torch').get_num_threads()]") == [797, 1]
    assert psutil.Process(warm.pid).num_threads() == 1


@pytest.mark.realtime
def test_it_is_interrupted_and_goes_on(warm):
    with kernel(warm.path) as one:
        start = time.monotonic()
        message = one.client.execute("import time; time.sleep(60)")
        time.sleep(0.3)
        one.manager.interrupt_kernel()
        reply = one.client.get_shell_msg(timeout=10)
        assert reply["parent_header"]["msg_id"] == message
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert time.monotonic() - start < 10
        assert one.value("1 + 1") == 2


def test_it_is_restarted_empty_and_in_another_process(warm):
    with kernel(warm.path) as one:
        one.value("x = 1; x")
        first = one.pid
        one.manager.restart_kernel(now=True)
        one.client.wait_for_ready(timeout=30)
        assert one.pid != first
        assert one.value("'x' in globals() and 1 or 0") == 0
        assert not psutil.pid_exists(first)


def test_killed_it_is_known_to_be_dead_and_leaves_no_zombie_and_others_notice_nothing(warm):
    with kernel(warm.path) as one, kernel(warm.path) as other:
        os.kill(one.pid, signal.SIGKILL)
        wait_until(lambda: not one.manager.is_alive())
        assert [child.pid for child in psutil.Process(warm.pid).children()] == [other.pid]
        assert other.value("2 + 2") == 4
    assert psutil.Process(warm.pid).children() == []


def test_two_kernels_share_neither_their_dice_nor_what_they_write(warm):
    with kernel(warm.path) as one, kernel(warm.path) as other:
        assert one.pid != other.pid
        assert not set(one.value(DRAW)) & set(other.value(DRAW))
        one.value("import insitu_widgets; insitu_widgets.__version__ = 'mine'; 0")
        weights = "__import__('insitu_widgets').load_root('resnet-digits')"
        total = f"float(sum(p.sum() for p in {weights}.parameters()))"
        before = other.value(total)
        one.value(f"root = {weights}\nfor p in root.parameters(): p.zero_()\n0")
        assert other.value(total) == before
        assert other.value("import insitu_widgets; [insitu_widgets.__version__]") != ["mine"]


def test_most_of_its_memory_is_shared(warm):
    with kernel(warm.path) as one:
        one.value("from insitu_widgets import Explorer, dashboard; d = dashboard(); Explorer(); 0")
        memory = psutil.Process(one.pid).memory_full_info()
        assert memory.uss < 110e6
        assert memory.rss > 2 * memory.uss


def test_without_a_warm_process_it_is_started_in_the_usual_way(tmp_path, caplog):
    with kernel(tmp_path / "nobody") as one:
        assert "is started, not forked" in caplog.text
        assert psutil.Process(one.pid).ppid() == os.getpid()
        assert one.value("1 + 1") == 2
