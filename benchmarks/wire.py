"""A visitor without a browser: speaks HTTP and the kernel's websocket as the dashboard's page does.

It fetches the page and every file that a real page fetches, asks for the state of the widgets, says
hello, moves sliders, and reads from the widgets what a page would show. It pings as the page does.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Callable
from typing import Any, Self
from urllib.parse import urlsplit

from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from benchmarks.page import LIMIT_MS, kernel_id

PROTOCOL = "v1.kernel.websocket.jupyter.org"
CONNECTIONS = 6  # of a browser to one server
PULSE_S = 3.0
FIRST_SLIDER = "memory_bytes"


class WireVisitor:
    """A page's part of the conversation."""

    def __init__(self, url: str) -> None:
        self.marks: dict[str, float] = {}
        self.moves: list[float] = []
        self.faults: list[str] = []
        parts = urlsplit(url)
        self._root = f"{parts.scheme}://{parts.netloc}"
        self._headers = {"Authorization": f"token {parts.query.removeprefix('token=')}"}
        self._client = AsyncHTTPClient(force_instance=True, max_clients=CONNECTIONS)
        self._widgets: dict[str, dict[str, Any]] = {}  # by their comms' ids
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._pongs = 0
        self._session = uuid.uuid4().hex
        self._socket: WebSocketClientConnection
        self.kernel = ""

    @classmethod
    async def arrive(cls, url: str, paths: list[str]) -> Self:
        """Open the front page and fetch the files at ``paths``; returns as a real visitor does."""
        visitor = cls(url)
        start = time.perf_counter()
        page = await visitor._fetch("/voila/render/dashboard.ipynb")
        visitor.kernel = kernel_id(page)
        await asyncio.gather(*map(visitor._fetch, paths))
        await visitor._connect()
        await visitor._send_custom({"type": "hello", "query": ""})
        estimate = asyncio.create_task(visitor._reached(visitor._complete))
        await visitor._slide(FIRST_SLIDER, 1)
        visitor.marks["usable"] = 1e3 * (time.perf_counter() - start)
        await estimate
        visitor.marks["estimate"] = 1e3 * (time.perf_counter() - start)
        return visitor

    async def move(self, slider: str, key: str) -> None:
        """Move a slider by a stop; returns when all images have been measured."""
        start = time.perf_counter()
        await self._slide(slider, 1 if key == "ArrowRight" else -1)
        await self._reached(self._complete)
        self.moves.append(time.perf_counter() - start)

    async def press(self, slider: str, key: str) -> None:
        """Move a slider by a stop, if it is not at its end, and wait for nothing."""
        widget = self._widgets[self._find(slider)]
        index = widget["index"] + (1 if key == "ArrowRight" else -1)
        if 0 <= index < len(widget["_options_labels"]):
            widget["index"] = index
            await self._send_update(slider, {"index": index})

    async def settle(self) -> None:
        """Wait until the page is complete, after all that was pressed."""
        for _ in range(2):  # the second answer comes after what the last press has drawn
            answered = self._pongs
            await self._send_custom({"type": "ping"})
            await self._reached(lambda answered=answered: self._pongs > answered)
        await self._reached(self._at_rest)

    async def leave(self, *, abruptly: bool = False) -> None:
        """Say farewell, as ``sendBeacon`` does, unless abruptly, and hang up."""
        if not abruptly:
            await self._fetch(f"/voila/api/shutdown/{self.kernel}", method="POST", body="")
        for task in self._tasks:
            task.cancel()
        self._socket.close()

    async def _fetch(self, path: str, **options: Any) -> str:
        request = HTTPRequest(
            self._root + path, headers=self._headers, request_timeout=LIMIT_MS / 1e3, **options
        )
        return (await self._client.fetch(request)).body.decode("utf-8", "replace")

    async def _connect(self) -> None:
        address = self._root.replace("http", "ws", 1)
        path = f"/api/kernels/{self.kernel}/channels?session_id={self._session}"
        self._socket = await websocket_connect(
            HTTPRequest(address + path, headers=self._headers),
            subprotocols=[PROTOCOL],
            max_message_size=1 << 26,
        )
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._pulse())]
        await self._send("kernel_info_request", {})
        control = {"comm_id": uuid.uuid4().hex, "target_name": "jupyter.widget.control", "data": {}}
        await self._send("comm_open", control, version="1.0.0")
        ask = {"comm_id": control["comm_id"], "data": {"method": "request_states"}}
        await self._send("comm_msg", ask)
        await self._reached(lambda: bool(self._widgets))

    async def _send(self, kind: str, content: dict[str, Any], **metadata: str) -> None:
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": self._session,
            "username": "",
            "date": "2026-01-01T00:00:00Z",
            "version": "5.2",
        }
        message = {"header": header, "parent_header": {}, "metadata": metadata, "content": content}
        packed = serialize_msg_to_ws_v1(message, "shell", lambda part: json.dumps(part).encode())
        await self._socket.write_message(packed, binary=True)

    async def _send_custom(self, content: dict[str, Any]) -> None:
        data = {"method": "custom", "content": content}
        await self._send("comm_msg", {"comm_id": self._find("charts"), "data": data})

    async def _listen(self) -> None:
        while message := await self._socket.read_message():
            _, parts = deserialize_msg_from_ws_v1(message)
            header = json.loads(parts[0])
            if header["msg_type"] not in {"comm_msg", "error"}:
                continue
            content = json.loads(parts[3])
            if header["msg_type"] == "error":
                self.faults.append(content["evalue"])
                continue
            data = content["data"]
            if data["method"] == "update_states":
                states = {name: each["state"] for name, each in data["states"].items()}
                self._widgets.update(states)
            elif data["method"] == "custom":
                self._pongs += data["content"].get("type") == "pong"
            elif data["method"] in {"update", "echo_update"}:
                # What is not known yet will be asked for, as it is by then.
                self._widgets.get(content["comm_id"], {}).update(data["state"])
            async with self._changed:
                self._changed.notify_all()

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(PULSE_S)
            if self._widgets:
                await self._send_custom({"type": "ping"})

    async def _reached(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_MS / 1e3), self._changed:
            await self._changed.wait_for(condition)

    async def _slide(self, slider: str, step: int) -> None:
        """Move a slider; returns when the charts have another permalink."""
        charts, widget = self._widgets[self._find("charts")], self._widgets[self._find(slider)]
        before = charts["permalink"]
        widget["index"] += step
        await self._send_update(slider, {"index": widget["index"]})
        await self._reached(lambda: charts["permalink"] != before)

    async def _send_update(self, name: str, state: dict[str, Any]) -> None:
        data = {"method": "update", "state": state, "buffer_paths": []}
        await self._send("comm_msg", {"comm_id": self._find(name), "data": data})

    def _at_rest(self) -> bool:
        """Whether nothing is out of date or being measured; nothing may fit."""
        stale = self._widgets[self._find("charts")]["stale"]
        return not stale and "<progress" not in self._widgets[self._find("head")]["value"]

    def _complete(self) -> bool:
        """Whether all images have been measured, for what is asked now."""
        head = self._widgets[self._find("head")]["value"]
        measured = head.partition("insitu-tile-measured")[2].partition("</b>")[0]
        return self._at_rest() and "%" in measured

    def _find(self, name: str) -> str:
        """The comm of the charts, or of the widget with a class ``insitu-NAME``."""
        if name == "charts":
            return next(comm for comm, state in self._widgets.items() if "permalink" in state)
        return next(
            comm
            for comm, state in self._widgets.items()
            if f"insitu-{name}" in state.get("_dom_classes", ())
        )
