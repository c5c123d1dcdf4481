"""The settings in docs/classroom.md are what their programs can read, and name what is there."""

import re
from pathlib import Path

import pytest
import yaml
from traitlets.config import Config

from insitu_widgets import __version__
from insitu_widgets.classroom.app import Classroom

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "classroom.md").read_text(encoding="utf-8")
PINS = (ROOT / "constraints.txt").read_text(encoding="utf-8")


def block(language):
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return found


def test_the_cluster_gets_an_image_of_this_version_and_a_page_that_is_there():
    user = yaml.safe_load(block("yaml"))["singleuser"]
    assert user["image"]["tag"] == __version__
    assert f"{user['image']['name']}:{__version__}" in TEXT
    assert (ROOT / user["defaultUrl"].removeprefix("/voila/render/")).is_file()
    assert user["extraEnv"]["OMP_NUM_THREADS"] == "1"


def test_the_hubs_settings_are_traitlets_and_open_a_notebook_that_is_there():
    config = Config()
    exec(block("python"), {"c": config})  # noqa: S102  (as the hub does it)
    page = config.Spawner.default_url.removeprefix("/lab/tree/insitu-explorer/")
    assert (ROOT / page).is_file()


def test_the_torch_that_is_named_is_the_pinned_one():
    for version in re.findall(r"torch==([\d.]+)\+cpu", TEXT):
        assert f"\ntorch=={version}\n" in PINS


@pytest.mark.parametrize("name", ["pages", "pool", "visitors"])
def test_every_setting_that_is_named_exists(name):
    assert f"`Classroom.{name}`" in TEXT
    assert name in Classroom.class_trait_names(config=True)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((\.\./[^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
