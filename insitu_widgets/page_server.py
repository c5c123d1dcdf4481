"""Voilà whose kernels end with their pages: ``python -m insitu_widgets.page_server NOTEBOOK``.

``serve`` starts it for one reader, and the classroom builds on it.
"""

from __future__ import annotations

from typing import Any

from voila.app import Voila
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler


class LeaveHandler(VoilaShutdownKernelHandler):
    """Ends a kernel when its page is closed.

    The page says so with ``sendBeacon``, which cannot carry the token against forged requests that
    Jupyter asks for; so Voilà refuses it, and the kernel lives on. Nothing can be forged here: the
    kernel's id is known to its page alone.
    """

    def check_xsrf_cookie(self) -> None:
        """Nothing to check."""


class PageServer(Voila):
    """Voilà with a handler of its own for pages that are closed."""

    def init_handlers(self) -> list[Any]:
        """Voilà's handlers, with ours in place of one."""
        return [
            (pattern, LeaveHandler if handler is VoilaShutdownKernelHandler else handler, *rest)
            for pattern, handler, *rest in super().init_handlers()
        ]


if __name__ == "__main__":
    PageServer.launch_instance()
