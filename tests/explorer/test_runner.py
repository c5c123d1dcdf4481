"""Newest request wins: in line, and in a thread whose posts are delivered by hand."""

import threading

import pytest

from insitu_widgets.explorer.runner import Inline, Latest


class Mailbox:
    """Stands in for the kernel's event loop: callbacks wait until they are delivered."""

    def __init__(self):
        self._posts = []
        self._changed = threading.Condition()

    def post(self, call):
        with self._changed:
            self._posts.append(call)
            self._changed.notify()

    def deliver(self, count):
        """Wait for ``count`` posts and carry them out, in the thread that asks."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self._posts) >= count, timeout=10)
            assert arrived, f"only {len(self._posts)} of {count} posts came"
            calls, self._posts = self._posts[:count], self._posts[count:]
        for call in calls:
            call()

    def __len__(self):
        return len(self._posts)


def test_inline_hands_over_every_step_then_the_end():
    seen = []
    Inline().request(lambda: iter("abc"), seen.append, seen.append)
    assert seen == ["a", "b", "c", None]


def test_inline_reports_a_failure_instead_of_raising_it():
    def steps():
        yield 1
        raise RuntimeError("no")

    seen = []
    Inline().request(steps, seen.append, seen.append)
    assert seen[0] == 1
    assert isinstance(seen[1], RuntimeError)


def test_inline_gives_way_to_a_request_made_by_a_step():
    runner, seen = Inline(), []

    def on_step(step):
        seen.append(step)
        if step == "old 1":
            runner.request(lambda: iter(["new"]), seen.append, lambda _: seen.append("new end"))

    runner.request(lambda: iter(["old 1", "old 2"]), on_step, lambda _: seen.append("old end"))
    assert seen == ["old 1", "new", "new end"]


def test_latest_delivers_in_order():
    mailbox, seen = Mailbox(), []
    Latest(mailbox.post).request(lambda: iter([1, 2]), seen.append, lambda _: seen.append("end"))
    mailbox.deliver(3)
    assert seen == [1, 2, "end"]


def test_a_stale_result_never_arrives_even_when_it_was_already_posted():
    mailbox, seen = Mailbox(), []
    runner = Latest(mailbox.post)
    runner.request(lambda: iter(["old"]), seen.append, lambda _: seen.append("old end"))
    while len(mailbox) < 2:  # both posts of the old request are waiting
        threading.Event().wait(0.001)
    runner.request(lambda: iter(["new"]), seen.append, lambda _: seen.append("new end"))
    mailbox.deliver(4)
    assert seen == ["new", "new end"]


def test_an_overtaken_generator_is_not_pulled_further():
    mailbox, pulled, go = Mailbox(), [], threading.Event()
    runner = Latest(mailbox.post)

    def slow():
        for step in range(1000):
            pulled.append(step)
            yield step
            go.wait(10)

    runner.request(slow, lambda _: None, lambda _: None)
    mailbox.deliver(1)
    runner.request(lambda: iter(["new"]), lambda _: None, lambda _: None)
    go.set()
    mailbox.deliver(3)  # the old end (dropped on delivery), the new step, the new end
    assert len(pulled) <= 2


def test_a_cancelled_request_delivers_nothing():
    mailbox, seen = Mailbox(), []
    runner = Latest(mailbox.post)
    runner.request(lambda: iter([1]), seen.append, lambda _: seen.append("end"))
    while len(mailbox) < 2:
        threading.Event().wait(0.001)
    runner.cancel()
    mailbox.deliver(2)
    assert seen == []


def test_latest_survives_a_failure_and_takes_the_next_request():
    mailbox, seen = Mailbox(), []
    runner = Latest(mailbox.post)

    def broken():
        raise ValueError("broken")
        yield

    runner.request(broken, seen.append, seen.append)
    mailbox.deliver(1)
    runner.request(lambda: iter(["fine"]), seen.append, seen.append)
    mailbox.deliver(2)
    assert [str(item) for item in seen] == ["broken", "fine", "None"]


@pytest.mark.parametrize("burst", [20])
def test_of_a_burst_only_the_last_one_ends(burst):
    mailbox, ends = Mailbox(), []
    runner = Latest(mailbox.post)
    for number in range(burst):
        runner.request(
            lambda number=number: iter([number]),
            lambda _: None,
            lambda _, number=number: ends.append(number),
        )
    finished = threading.Event()
    while not ends:
        finished.wait(0.001)
        mailbox.deliver(len(mailbox))
    assert ends == [burst - 1]
