"""The class's kernels: who sits where, and what goes wrong in them, for the log and nobody else."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from jupyter_server._tz import utcnow
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from voila.utils import ENV_VARIABLE

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # a terminal's, which IPython writes into tracebacks


class ClassKernels(AsyncMappingKernelManager):
    """Kernels of visitors, and kernels that wait for one in Voilà's pool."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._heating = 0

    async def start_kernel(self, **kwargs: Any) -> str:  # type: ignore[override]  # (as its parent)
        """Start a kernel; Voilà says in its environment whether it is for the pool."""
        preheat = kwargs.get("env", {}).get(ENV_VARIABLE.VOILA_PREHEAT) == "True"
        self._heating += preheat
        try:
            return await super().start_kernel(**kwargs)
        finally:
            self._heating -= preheat

    def taken(self) -> int:
        """How many kernels are visitors', those included that are just starting."""
        tasks = self._pool_tasks()
        waiting = sum(task.done() for task in tasks)
        heating = min(self._heating, len(tasks) - waiting)
        kernels = self._kernels.keys() | self._pending_kernels.keys()
        return len(kernels) - waiting - heating

    def refresh(self) -> None:
        """Count the kernels that wait as active now.

        One may have waited for long when a visitor takes it; until the page is connected nothing
        would keep it from being culled as idle.
        """
        for task in self._pool_tasks():
            if task.done() and not task.exception() and task.result()["kernel_id"] in self:
                self.get_kernel(task.result()["kernel_id"]).last_activity = utcnow()  # type: ignore[attr-defined]

    def _pool_tasks(self) -> list[asyncio.Task[dict[str, Any]]]:
        """Voilà's tasks, one for each kernel that waits; it adds them in a subclass."""
        return [task for pool in getattr(self, "_pools", {}).values() for task in pool]


class ClassConnection(ZMQChannelsWebsocketConnection):
    """A page's connection to its kernel; what the page is not shown is written to the log."""

    def _on_error(self, channel: str, msg: dict[str, Any], msg_list: list[Any]) -> None:
        """Log an exception and hide it, where jupyter_server 2.21 itself raises one."""
        if channel != "iopub":
            return
        header = self.get_part("header", msg["header"], msg_list)
        if header["msg_type"] != "error":
            return
        content = self.get_part("content", msg["content"], msg_list)
        trace = _COLOUR.sub("", "\n".join(content["traceback"]))
        self.log.error("An exception in kernel %s:\n%s", self.kernel_id, trace)
        kernels = self.multi_kernel_manager
        if kernels.allow_tracebacks:
            return
        words = kernels.traceback_replacement_message
        msg["header"] = header
        msg["content"] = {"ename": "Error", "evalue": words, "traceback": [words]}
        if self.subprotocol == "v1.kernel.websocket.jupyter.org":
            msg_list[3] = self.session.pack(msg["content"])
