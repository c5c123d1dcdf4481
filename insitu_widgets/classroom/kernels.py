"""The class's kernels: who sits where, and what goes wrong in them, for the log and nobody else."""

from __future__ import annotations

from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from voila.utils import ENV_VARIABLE


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
        tasks = [task for pool in getattr(self, "_pools", {}).values() for task in pool]
        waiting = sum(task.done() for task in tasks)
        heating = min(self._heating, len(tasks) - waiting)
        kernels = self._kernels.keys() | self._pending_kernels.keys()
        return len(kernels) - waiting - heating


class ClassConnection(ZMQChannelsWebsocketConnection):
    """A page's connection to its kernel; what the page is not shown is written to the log."""

    def _on_error(self, channel: str, msg: dict[str, Any], msg_list: list[Any]) -> None:
        if channel == "iopub":
            header = self.get_part("header", msg["header"], msg_list)
            if header["msg_type"] == "error":
                content = self.get_part("content", msg["content"], msg_list)
                trace = "\n".join(content["traceback"])
                self.log.error("An exception in kernel %s:\n%s", self.kernel_id, trace)
        super()._on_error(channel, msg, msg_list)
