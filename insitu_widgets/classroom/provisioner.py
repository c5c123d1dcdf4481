"""A Jupyter kernel provisioner that has its kernels forked from a warm process.

Where that cannot be done, it starts the kernel in the usual way and says so in the log: no warm
process, another kind of kernel, another system than Linux.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from traitlets import Unicode

from insitu_widgets.classroom.forks import Order
from insitu_widgets.classroom.warm import ForkRefusedError, order_kernel

#: Its entry point in Jupyter's group ``jupyter_client.kernel_provisioners``.
NAME = "insitu-fork"
LAUNCHER = "ipykernel_launcher"


class ForkProvisioner(LocalProvisioner):
    """Forks kernels where that can be done, and starts them where it cannot."""

    socket = Unicode(help="the warm process's socket; empty: there is none").tag(config=True)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Have the kernel forked; ``cmd`` is what would start it otherwise."""
        try:
            forked = order_kernel(self.socket, self._order(cmd, **kwargs))
        except (OSError, ForkRefusedError) as error:
            self.log.warning("Kernel %s is started, not forked: %s", self.kernel_id, error)
            return await super().launch_kernel(cmd, **kwargs)
        self.process = forked  # type: ignore[assignment]  # (what of Popen is used, it has)
        self.pid = self.pgid = forked.pid  # it leads a process group of its own
        self.cwd = kwargs.get("cwd", Path.cwd())
        self.log.debug("Kernel %s is forked: process %d", self.kernel_id, forked.pid)
        return self.connection_info

    def _order(self, cmd: list[str], **kwargs: Any) -> Order:
        if LAUNCHER not in cmd:
            msg = f"its command is not {LAUNCHER}"
            raise ForkRefusedError(msg)
        if not self.socket:
            msg = "there is no warm process"
            raise ForkRefusedError(msg)
        return Order(
            name=f"kernel-{self.kernel_id}"[:15],
            argv=cmd[cmd.index(LAUNCHER) + 1 :],
            cwd=str(kwargs.get("cwd") or Path.cwd()),
            env=dict(kwargs.get("env") or os.environ),
        )
