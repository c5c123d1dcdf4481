"""How the browser of these tests is found, and what happens when there is none."""

import pytest

from tests.browser import chromium, conftest


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """A machine with no browser, no package manager, and an empty program path."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(chromium, "APPLICATIONS", ())
    monkeypatch.setattr(chromium, "_playwrights_own", lambda: str(tmp_path / "none"))
    return tmp_path


def test_each_command_is_found(bare_machine):
    assert chromium.find_chromium() is None
    for name in reversed(chromium.COMMANDS):
        program = bare_machine / name
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        assert chromium.find_chromium() == str(program)


def test_a_wrong_name_is_refused(monkeypatch):
    monkeypatch.setenv("CHROMIUM", "/no/such/browser")
    with pytest.raises(FileNotFoundError, match="CHROMIUM=/no/such/browser is not a program"):
        chromium.find_chromium()


@pytest.mark.usefixtures("bare_machine")
@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip), ("true", pytest.fail)])
def test_without_a_browser_tests_are_skipped_but_fail_in_ci(monkeypatch, ci, outcome):
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome.Exception, match="No Chromium was found"):
        conftest.require_chromium()
