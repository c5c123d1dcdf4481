"""Runners: pull a generator step by step; the newest request wins.

:class:`Latest` works in one thread of its own, so that the page stays alive; :class:`Inline` has
the same interface and works at once, so that every path can be tested without a browser.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

Steps = Callable[[], Iterator[Any]]
_Work = tuple[int, Steps, Callable[[Any], None], Callable[[Exception | None], None]]
Post = Callable[[Callable[[], None]], object]
#: What the page can draw without a measurement goes first: two threads that want the interpreter
#: at the same moment wait for each other at every message.
HEAD_START_S = 0.05


class Inline:
    """Run each request to its end before ``request`` returns."""

    def __init__(self) -> None:
        self._generation = 0

    def request(
        self,
        steps: Steps,
        on_step: Callable[[Any], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        """Pull ``steps()`` and hand each item to ``on_step``; a request made meanwhile wins."""
        self._generation += 1
        mine = self._generation
        failure: Exception | None = None
        try:
            for step in steps():
                if mine != self._generation:
                    return
                on_step(step)
        except Exception as error:  # noqa: BLE001  (the shell shows it beside the figure)
            failure = error
        if mine == self._generation:
            on_end(failure)

    def cancel(self) -> None:
        """Drop whatever is running."""
        self._generation += 1


class Latest:
    """Run requests in one daemon thread; a newer one stops and silences the older.

    Parameters
    ----------
    post
        Hands a callback to the thread that owns the widgets: ``loop.call_soon_threadsafe``. What
        has been overtaken by then is dropped there, so that no stale result arrives.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self._changed = threading.Condition()
        self._generation = 0
        self._waiting: _Work | None = None
        self._thread: threading.Thread | None = None

    def request(
        self,
        steps: Steps,
        on_step: Callable[[Any], None],
        on_end: Callable[[Exception | None], None],
    ) -> None:
        """Ask for ``steps()`` to be pulled; returns at once."""
        with self._changed:
            self._generation += 1
            self._waiting = (self._generation, steps, on_step, on_end)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="measure", daemon=True)
                self._thread.start()
            self._changed.notify()

    def cancel(self) -> None:
        """Drop whatever is running or waiting."""
        with self._changed:
            self._generation += 1
            self._waiting = None

    def _work(self) -> None:
        while True:
            mine, steps, on_step, on_end = self._next()
            failure: Exception | None = None
            try:
                for step in steps():
                    if mine != self._generation:
                        break
                    self._send(mine, on_step, step)
            except Exception as error:  # noqa: BLE001  (the shell shows it beside the figure)
                failure = error
            self._send(mine, on_end, failure)

    def _next(self) -> _Work:
        """Wait for a request, give it and those that overtake it a head start, take the newest."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting is not None)
                while self._changed.wait(HEAD_START_S):
                    pass
                taken, self._waiting = self._waiting, None
                if taken is not None:  # it was not cancelled meanwhile
                    return taken

    def _send(self, mine: int, call: Callable[[Any], None], item: object) -> None:
        def deliver() -> None:
            if mine == self._generation:
                call(item)

        self._post(deliver)
