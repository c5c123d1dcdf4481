"""Find the browser for the tests, or install one: ``python -m tests.browser.chromium --install``.

Debian's and Ubuntu's packages, Google's builds, macOS's applications and Playwright's own download
all do. ``CHROMIUM=/path/to/chrome`` names another.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APPLICATIONS = (  # macOS
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
MISSING = (
    "No Chromium was found, so the browser tests cannot run. Install one (Debian: apt-get install "
    "chromium; elsewhere: python -m playwright install chromium), or name one: CHROMIUM=/path/to/it"
)


def find_chromium() -> str | None:
    """The program to start, or None; ``CHROMIUM`` is believed, or refused if it is no program."""
    named = os.environ.get("CHROMIUM")
    if named:
        program = shutil.which(named)
        if program is None:
            msg = f"CHROMIUM={named} is not a program that can be started: correct it or unset it."
            raise FileNotFoundError(msg)
        return program
    candidates = (*COMMANDS, *APPLICATIONS, _playwrights_own())
    return next(filter(None, map(shutil.which, candidates)), None)


def browser_is_required() -> bool:
    """Whether a missing browser fails the tests instead of skipping them (``CI=true``)."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def install() -> str | None:
    """Install Chromium where this may be done unasked; the program, or None."""
    for command in (*_apt_commands(), [sys.executable, "-m", "playwright", "install", "chromium"]):
        print("+", *command, flush=True)
        if subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode != 0:
            print("  (this failed)", flush=True)
        if found := find_chromium():
            return found
    return None


def _apt_commands() -> list[list[str]]:
    """What installs Debian's package, if that needs no password."""
    if shutil.which("apt-get") is None:
        return []
    root: list[str] = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if root and (
        shutil.which("sudo") is None
        or subprocess.run([*root, "true"], check=False, capture_output=True).returncode != 0
    ):
        return []
    return [
        [*root, "apt-get", "update", "-q"],
        [*root, "apt-get", "install", "-q", "-y", "chromium"],
    ]


def _playwrights_own() -> str:
    """Where Playwright would put its own Chromium, whether or not it is there."""
    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


def main() -> None:
    """Say which browser the tests will use, after installing one if asked to."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.chromium", description=__doc__)
    parser.add_argument("--install", action="store_true", help="install one if none is found")
    options = parser.parse_args()
    found = find_chromium()
    if found is None and options.install:
        found = install()
    if found is None:
        rule = "!" * 80
        print(f"{rule}\n{MISSING}\n{rule}", file=sys.stderr)
    else:
        print(f"Browser tests use {Path(found)}")


if __name__ == "__main__":
    main()
