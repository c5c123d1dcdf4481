"""The classroom's door, its places, and what it keeps to itself."""

import json
import re
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest

from insitu_widgets import serve
from insitu_widgets.classroom.app import DEFAULTS
from insitu_widgets.classroom.provisioner import NAME, ForkProvisioner
from tests.test_serve import write_notebook

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "insitu_widgets.classroom"]
PASSWORD = "correct horse"  # noqa: S105
SECRET = "a-name-in-the-code"  # noqa: S105
OPEN = "The classroom is open: "


def run(*arguments):
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, check=False, capture_output=True, text=True, timeout=60
    )


def wait_until(condition, limit_s=30):
    limit = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


class Class:
    """A classroom that is open, and what it answers."""

    def __init__(self, port, process, log):
        self.port, self.process, self.log = port, process, log

    def ask(self, method, path, headers=None, body=None, *, entered=True):
        """Status, headers and text of an answer."""
        headers = dict(headers or {})
        if entered:
            headers["Authorization"] = f"token {PASSWORD}"
        connection = HTTPConnection(serve.HOST, self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()
        finally:
            connection.close()

    def page(self, name="ok"):
        return self.ask("GET", f"/voila/render/{name}.ipynb")

    def kernels(self):
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if child.name().startswith(("kernel-", "python"))]

    def wait_for_log(self, text):
        wait_until(lambda: text in self.log.read_text())


@contextmanager
def opened(folder, *arguments):
    """A classroom of a folder of notebooks, ``ok.ipynb`` first."""
    port, log = serve._free_port(), folder / "log"
    command = [*COMMAND, f"--port={port}", f"--Voila.root_dir={folder}", "--Voila.ip=127.0.0.1"]
    options = [f"--Classroom.password={PASSWORD}", "--Classroom.front_page=ok.ipynb", *arguments]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *options], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        room = Class(port, process, log)
        try:
            while OPEN not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield room
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    for name, code in {"ok": "print('here')", "bad": f"{SECRET!r}.missing  # {SECRET}"}.items():
        write_notebook(folder, code).rename(folder / f"{name}.ipynb")
    for name in ("roster.csv", "answers.py", "photo.png"):
        (folder / name).write_text(SECRET)
    return folder


@pytest.fixture(scope="module")
def room(folder):
    """Two places, no kernel that waits, and kernels that start quickly because they start bare."""
    with opened(
        folder, "--Classroom.fork=False", "--Classroom.pool=0", "--Classroom.visitors=2"
    ) as r:
        yield r


def test_nobody_comes_in_without_the_password(room):
    status, headers, _ = room.ask("GET", "/voila/render/ok.ipynb", entered=False)
    assert (status, headers["Location"].partition("?")[0]) == (302, "/login")
    assert room.ask("GET", "/?token=wrong", entered=False)[1]["Location"].startswith("/voila/")
    assert room.ask("GET", "/voila/render/ok.ipynb?token=wrong", entered=False)[0] == 302
    assert room.ask("GET", "/api/kernels/0-0-0-0-0/channels", entered=False)[0] == 403
    assert room.ask("POST", "/voila/api/shutdown/0-0-0-0-0", entered=False)[0] == 403
    assert room.kernels() == []


def test_the_door_asks_in_words_and_opens_for_the_password(room):
    _, headers, form = room.ask("GET", "/login?next=%2F", entered=False)
    assert "which your teacher has" in form
    token = re.search(r'name="_xsrf" value="([^"]+)"', form)[1]
    cookie = {
        "Cookie": headers["Set-Cookie"].partition(";")[0],
        "Content-Type": "application/x-www-form-urlencoded",
    }

    def enter(password):
        body = urlencode({"_xsrf": token, "password": password})
        return room.ask("POST", "/login?next=%2F", cookie, body, entered=False)

    status, _, again = enter("wrong horse")
    assert (status, "That was not the password" in again) == (401, True)
    status, headers, _ = enter(PASSWORD)
    assert (status, headers["Location"]) == (302, "/")


def test_a_class_may_choose_its_pages(folder):
    ended = run(
        f"--Voila.root_dir={folder}",
        "--Classroom.front_page=ok.ipynb",
        "--Classroom.pages=ok.ipynb",
        "--Classroom.pages=gone.ipynb",
    )
    assert ended.returncode
    assert "Classroom.pages must be notebooks in" in ended.stderr
    assert "got 'gone.ipynb'. Name what is there, or leave it empty." in ended.stderr
    shown = subprocess.run(
        [sys.executable, "-c", CHOSEN, str(folder)], check=True, capture_output=True, text=True
    )
    assert json.loads(shown.stdout) == {"pages": ["bad"]}


CHOSEN = """
import json, sys
from insitu_widgets.classroom.app import Classroom
room = Classroom()
room.initialize([f"--Voila.root_dir={sys.argv[1]}", "--Classroom.pages=bad.ipynb", "--port=8999"])
print(json.dumps(room.config.VoilaConfiguration.resources))
"""


def test_the_front_page_keeps_what_a_link_says(room):
    status, headers, _ = room.ask("GET", "/?latency_s=0.5")
    assert (status, headers["Location"]) == (302, "/voila/render/ok.ipynb?latency_s=0.5")


@pytest.mark.parametrize(
    "path",
    [
        *("ok.ipynb", "answers.py", "roster.csv", "photo.png", "log", "../conftest.py"),
        *("..%2f..%2fetc%2fpasswd", "/etc/passwd"),
    ],
)
def test_no_file_can_be_read(room, path):
    status, _, text = room.ask("GET", f"/voila/files/{path}")
    assert status in {403, 404}
    assert SECRET not in text


@pytest.mark.parametrize(
    "path",
    [
        *("voila/tree", "voila/api/contents", "api/contents", "api/kernels", "api/terminals"),
        *("voila/render/", "voila/render/none.ipynb", "voila/render/roster.csv"),
        "voila/render/..%2f..%2fnone.ipynb",
    ],
)
def test_nothing_is_listed_and_what_is_not_there_is_not_found(room, path):
    status, _, text = room.ask("GET", f"/{path}")
    assert status == 404
    assert SECRET not in text


def leave(room, html):
    found = re.search(r'"kernelId": ?"([\w-]+)"', html)
    return room.ask("POST", f"/voila/api/shutdown/{found[1]}")[0]


def test_neither_code_nor_tracebacks_are_shown_and_tracebacks_are_logged(room):
    status, _, page = room.page("bad")
    assert status == 200
    assert "please tell your teacher" in page
    assert SECRET not in page
    assert "AttributeError" not in page
    room.wait_for_log("AttributeError")
    assert leave(room, page) == 204


def test_each_page_links_to_the_others_of_the_class(room):
    _, _, page = room.page()
    links = re.findall(r'<li><a href="([^"]+)"(.*?)>(.*?)</a>', page)
    assert links == [("ok.ipynb", ' aria-current="page"', "ok"), ("bad.ipynb", "", "bad")]
    assert leave(room, page) == 204


def test_beyond_the_places_a_page_says_so_until_somebody_leaves(room):
    pages = [room.page()[2] for _ in range(2)]
    assert all("here" in page and "print(" not in page for page in pages)
    status, headers, full = room.page()
    assert (status, headers["Retry-After"]) == (503, "15")
    assert "Every place in this classroom is taken" in full
    assert "All 2 places are taken" in full
    assert 'http-equiv="refresh" content="15"' in full
    assert leave(room, pages[0]) == 204  # as a closing tab says it: no token against forgery
    status, _, third = room.page()
    assert (status, "here" in third) == (200, True)
    assert [leave(room, page) for page in (pages[1], third)] == [204, 204]
    assert room.kernels() == []


def test_kernels_that_wait_take_no_place_and_no_death_closes_the_room(folder):
    with opened(folder, "--Classroom.visitors=1", "--Classroom.pool=2") as room:
        status, _, page = room.page()
        assert status == 200
        assert room.page()[0] == 503
        assert {kernel.ppid() for kernel in room.kernels()} != {room.process.pid}  # forked
        number = re.search(r'"kernelId": ?"([\w-]{8})', page)[1]
        next(each for each in room.kernels() if each.name() == f"kernel-{number}").kill()
        assert leave(room, page) == 204
        (warm,) = psutil.Process(room.process.pid).children()
        warm.kill()
        room.wait_for_log("another one is warming up")
        status, _, page = room.page()
        assert (status, "here" in page) == (200, True)
    assert not psutil.pid_exists(room.process.pid)


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        ("--Classroom.password=short", "at least 8 characters; got 5"),
        ("--Classroom.visitors=0", "Classroom.visitors must be a whole number from 1 to 1000"),
        ("--Classroom.front_page=none.ipynb", "Name one that is there"),
        ("--config=none.py", "correct --config"),
    ],
)
def test_a_wrong_setting_is_told_with_its_remedy(argument, remedy):
    done = run(argument)
    assert done.returncode == 1
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr


SHOWN = """
import json
from insitu_widgets.classroom.app import Classroom
for arguments in (["--config=classroom_config.py"], []):
    room = Classroom()
    room.initialize([*arguments, "--port=8999"])
    names = ("visitors", "pool", "front_page", "pages", "fork", "ip", "port", "password")
    print(json.dumps({name: getattr(room, name) for name in names} | {
        "tracebacks": room.voila_configuration.show_tracebacks,
        "files": room.voila_configuration.file_allowlist,
        "cull": room.config.MappingKernelManager.cull_idle_timeout,
    }))
"""


def test_the_configuration_says_what_holds_without_it():
    shown = subprocess.run(
        [sys.executable, "-c", SHOWN], cwd=ROOT, check=True, capture_output=True, text=True
    )
    with_file, without = map(json.loads, shown.stdout.splitlines())
    assert with_file == without
    assert with_file["port"] == 8999
    assert (with_file["tracebacks"], with_file["files"]) == (False, [])
    assert with_file["cull"] == serve.SETTINGS["MappingKernelManager"]["cull_idle_timeout"]


def test_what_protects_a_class_is_on_by_default():
    assert DEFAULTS["VoilaConfiguration"]["strip_sources"] is True
    assert DEFAULTS["MappingKernelManager"]["allow_tracebacks"] is False
    assert DEFAULTS["MappingKernelManager"]["cull_connected"] is False


def test_the_provisioner_is_an_entry_point():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (place,) = project["entry-points"]["jupyter_client.kernel_provisioners"].items()
    assert place == (NAME, f"{ForkProvisioner.__module__}:{ForkProvisioner.__name__}")
