"""Voilà for a class: a password, a limit on visitors, kernels that are forked, and no code."""

from __future__ import annotations

import ctypes
import gc
import os
import secrets
import signal
import socket
import sys
import tempfile
from http import HTTPStatus
from pathlib import Path
from typing import Any

import tornado.web
from jinja2 import ChoiceLoader, FileSystemLoader
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_server.utils import url_path_join
from tornado.ioloop import IOLoop, PeriodicCallback
from traitlets import Bool, Int, List, TraitError, Unicode, default, validate
from traitlets.config import Config
from voila.tornado.contentshandler import VoilaContentsHandler
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.treehandler import TornadoVoilaTreeHandler

from insitu_widgets.classroom import provisioner
from insitu_widgets.classroom.kernels import ClassConnection, ClassKernels
from insitu_widgets.classroom.warm import WarmProcess, can_fork
from insitu_widgets.errors import in_range
from insitu_widgets.page_server import PageServer
from insitu_widgets.serve import SETTINGS, ServeError, require_free

PAGES = Path(__file__).parent / "pages"
SHORTEST_PASSWORD = 8
_WATCH_MS = 2000
_TIDY_MS = 30_000
_RETRY_S = 15  # as in pages/503.html

#: What holds unless the class's configuration says otherwise.
DEFAULTS: dict[str, dict[str, Any]] = {
    **SETTINGS,
    "Voila": {"ip": "0.0.0.0", "port_retries": 0, "open_browser": False, "log_level": "WARN"},  # noqa: S104
    "VoilaConfiguration": {
        **SETTINGS["VoilaConfiguration"],
        "file_allowlist": [],  # no file of this machine
        "preheat_kernel": True,
        "multi_kernel_manager_class": ClassKernels,
    },
    "VoilaExecutor": {
        **SETTINGS["VoilaExecutor"],
        "cell_error_instruction": "The rest of this page is missing; please tell your teacher.",
        "cell_timeout_instruction": "Please reload the page.",
    },
    "MappingKernelManager": {
        **SETTINGS["MappingKernelManager"],
        "allow_tracebacks": False,
        "traceback_replacement_message": "Something went wrong here; please tell your teacher.",
    },
    # A kernel that is started again would be empty: the page tells its visitor to reload instead.
    # Linux has room for the names of sockets, which no other user can reach as they can a port.
    "KernelManager": {
        "autorestart": False,
        "transport": "ipc" if sys.platform == "linux" else "tcp",
    },
    "PasswordIdentityProvider": {"allow_password_change": False},
}


class Classroom(PageServer):
    """A server for a class on one machine."""

    description = Unicode("Serve the notebooks of a folder to a class, with Voilà.")
    examples = "python -m insitu_widgets.classroom --config=classroom_config.py"

    config_file = Unicode(help="the class's configuration: a file of traitlets").tag(config=True)
    password = Unicode(help="what the class types; empty: one is made at each start").tag(
        config=True
    )
    visitors = Int(40, help="largest number of visitors at a time").tag(config=True)
    front_page = Unicode("dashboard.ipynb", help="the notebook that / opens").tag(config=True)
    pages = List(
        Unicode(), help="the notebooks that each page links to, in this order; empty: all of them"
    ).tag(config=True)
    pool = Int(3, help="kernels that wait with the front page ready").tag(config=True)
    fork = Bool(True, help="fork kernels from one warm process, where that can be done").tag(
        config=True
    )
    raise_config_file_errors = True
    aliases = {**PageServer.aliases, "config": "Classroom.config_file"}  # noqa: RUF012  (as Voilà has it)

    _warm: WarmProcess | None = None

    @default("root_dir")
    def _notebooks(self) -> str:
        return str(Path("notebooks").resolve())

    @validate("password")
    def _long_enough(self, proposal: dict[str, Any]) -> str:
        password: str = proposal["value"]
        if not password or len(password) >= SHORTEST_PASSWORD:
            return password
        msg = (
            f"Classroom.password must have at least {SHORTEST_PASSWORD} characters; got "
            f"{len(password)}. Choose a longer one, or leave it empty and one is made."
        )
        raise TraitError(msg)

    @validate("visitors", "pool")
    def _reasonable(self, proposal: dict[str, Any]) -> int:
        name = proposal["trait"].name
        try:
            return in_range(f"Classroom.{name}", proposal["value"], int(name == "visitors"), 1000)
        except ValueError as error:
            raise TraitError(str(error)) from error

    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the configuration: defaults, file, command line; the last one wins."""
        self.update_config(Config(DEFAULTS))
        super().initialize(argv)
        # No notebook is, and it changes nothing here; but a line a visitor would hide what matters.
        self.log.addFilter(lambda record: "is not trusted" not in str(record.msg))
        # A closed terminal ends it as `kill` does, but for one that was started with nohup.
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._handle_signal_stop)

    def load_config_file(self, filename: str, path: Any = None) -> None:
        """Load what Voilà would load, then the class's own file."""
        super().load_config_file(filename, path)
        if self.config_file:
            file = Path(self.config_file).resolve()
            if not file.is_file():
                sys.exit(f"There is no configuration {file}: correct --config.")
            super().load_config_file(file.name, [str(file.parent)])

    def setup_template_dirs(self) -> None:
        """Find templates where Voilà does, and ours first; it links to the class's pages."""
        super().setup_template_dirs()
        self.template_paths.insert(0, str(PAGES / "voila"))
        names = self.pages or [self.front_page, *sorted(self._folder() - {self.front_page})]
        self.config.VoilaConfiguration.resources = {"pages": [Path(name).stem for name in names]}

    def _folder(self) -> set[str]:
        return {path.name for path in Path(self.root_dir).glob("*.ipynb")}

    def init_settings(self) -> dict[str, Any]:
        """Voilà's settings, with our pages before its own and Jupyter's."""
        if not self.password:
            self.password = secrets.token_hex(SHORTEST_PASSWORD // 2)
        self.token = self.password
        settings: dict[str, Any] = super().init_settings()
        settings["kernel_websocket_connection_class"] = ClassConnection
        for name in ("voila_jinja2_env", "jinja2_env"):
            loader = settings[name].loader
            settings[name].loader = ChoiceLoader([FileSystemLoader(PAGES), loader])
        return settings

    def init_handlers(self) -> list[Any]:
        """Voilà's handlers without those that list files, and with ours in place of one."""
        ours = {
            TornadoVoilaHandler: PageHandler,
            TornadoVoilaTreeHandler: None,
            VoilaContentsHandler: None,
        }
        handlers = [
            (pattern, ours.get(handler, handler), *rest)
            for pattern, handler, *rest in super().init_handlers()
        ]
        front = url_path_join(self.server_url, "voila", "render", self.front_page)
        door = (self.server_url, tornado.web.RedirectHandler, {"url": front, "permanent": False})
        return [door, *(handler for handler in handlers if handler[1] is not None)]

    def start(self) -> None:
        """Warm up, open, and serve until Ctrl-C."""
        self._check()
        pools = {"default": {"pool_size": 0}, self.front_page: {"pool_size": self.pool}}
        self.config.VoilaKernelManager.setdefault("kernel_pools_config", pools)
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # so many kernels, so few cores
        IOLoop.current().add_callback(self._say_open)
        PeriodicCallback(_tidy, _TIDY_MS).start()
        with tempfile.TemporaryDirectory(prefix="classroom-") as folder:  # only we can enter it
            if self.fork and self._can_fork():
                self._warm = WarmProcess(Path(folder) / "warm")
                self.config.ForkProvisioner.socket = str(self._warm.path)
                KernelProvisionerFactory.instance().default_provisioner_name = provisioner.NAME
                self._warm.wait_until_ready()
                PeriodicCallback(self._keep_warm, _WATCH_MS).start()
            super().start()

    def stop(self) -> None:
        """End every kernel, the forked ones at once."""
        if self._warm:
            self._warm.stop()
        super().stop()

    def _check(self) -> None:
        if not (Path(self.root_dir) / self.front_page).is_file():
            sys.exit(
                f"Classroom.front_page must be a notebook in {self.root_dir}; got "
                f"{self.front_page!r}. Name one that is there, or another Voila.root_dir."
            )
        missing = [name for name in self.pages if name not in self._folder()]
        if missing:
            sys.exit(
                f"Classroom.pages must be notebooks in {self.root_dir}; got {missing[0]!r}. Name "
                f"what is there, or leave it empty."
            )
        try:
            require_free(self.port, "make classroom")
        except ServeError as error:
            sys.exit(str(error))

    def _can_fork(self) -> bool:
        if not can_fork():
            reason = "this system has no pidfds"
        elif provisioner.NAME not in KernelProvisionerFactory.instance().get_provisioner_entries():
            reason = "the package was installed before it had a provisioner; install it again"
        else:
            return True
        self.log.warning("Kernels are started, not forked: %s.", reason)
        return False

    def _keep_warm(self) -> None:
        if self._warm and not self._warm.alive:
            self.log.warning("The warm process has ended; another one is warming up.")
            self._warm.stop()
            self._warm = WarmProcess(self._warm.path)

    def _say_open(self) -> None:
        host = socket.gethostname() if self.ip in {"", "0.0.0.0"} else self.ip  # noqa: S104
        print(
            f"The classroom is open: http://{host}:{self.port}{self.base_url}\n"
            f"Password: {self.password}   Places: {self.visitors}   (Ctrl-C closes it)",
            flush=True,
        )


def _tidy() -> None:
    """Give back the memory of visitors who have left.

    What served a page refers to itself in circles, with five megabytes of Plotly among it. They are
    few objects, so Python would not look for them for long, and the C library would keep the room.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc's
        trim(0)


class PageHandler(TornadoVoilaHandler):
    """A notebook's page, as long as there is a place."""

    @tornado.web.authenticated
    async def get(self, path: str = "") -> None:
        """Start a kernel, or take one that waits, and answer with the page."""
        if not path.endswith(".ipynb"):
            raise tornado.web.HTTPError(HTTPStatus.NOT_FOUND)
        places = self.settings["voila"].visitors
        if self.kernel_manager.taken() >= places:
            raise tornado.web.HTTPError(
                HTTPStatus.SERVICE_UNAVAILABLE, "All %d places are taken.", places
            )
        self.kernel_manager.refresh()
        await super().get(path)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with one of our pages; the one for a full class tries again by itself."""
        if status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            self.set_header("Retry-After", str(_RETRY_S))
        super().write_error(status_code, **kwargs)
