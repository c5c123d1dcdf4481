"""CPUs that a container grants, read from made-up control groups."""

import math
import os

import pytest

from insitu_widgets import cpus


def group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def quota(tmp_path, membership):
    (tmp_path / "membership").write_text(membership)
    return cpus.quota_cpus(tmp_path / "groups", tmp_path / "membership")


@pytest.mark.parametrize(
    ("own", "above", "granted"),
    [
        ("max 100000", "max 100000", math.inf),
        ("150000 100000", "max 100000", 1.5),
        ("400000 100000", "200000 100000", 2.0),
    ],
)
def test_version_2_counts_the_tightest_of_a_group_and_those_above(tmp_path, own, above, granted):
    group(tmp_path / "groups" / "a" / "b", cpu__max=own)
    group(tmp_path / "groups" / "a", cpu__max=above)
    assert quota(tmp_path, "0::/a/b\n") == granted


@pytest.mark.parametrize(("limit", "granted"), [("-1", math.inf), ("300000", 3.0)])
def test_version_1_has_two_files(tmp_path, limit, granted):
    group(tmp_path / "groups" / "cpu" / "d", cpu__cfs_quota_us=limit, cpu__cfs_period_us="100000")
    assert quota(tmp_path, "4:memory:/x\n3:cpu,cpuacct:/d\n0::/\n") == granted


def test_inside_a_container_the_groups_name_may_not_be_there(tmp_path):
    group(tmp_path / "groups", cpu__max="50000 100000")
    assert quota(tmp_path, "0::/system.slice/docker-1.scope\n") == 0.5


def test_without_control_groups_nothing_is_limited(tmp_path):
    assert cpus.quota_cpus(tmp_path, tmp_path / "none") == math.inf


@pytest.mark.parametrize(("granted", "expected"), [(math.inf, 8), (1.5, 1), (3.0, 3), (0.5, 1)])
def test_threads_follow_the_quota_and_are_never_none(monkeypatch, granted, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(cpus, "quota_cpus", lambda: granted)
    assert cpus.usable_cpus() == expected
