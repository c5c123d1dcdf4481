"""How many CPUs this process may use: not what the machine has, but what it has been given."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """Whole CPUs that this process may use: its affinity, capped by the quota of its control group.

    >>> usable_cpus() >= 1
    True
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = quota_cpus()
    return count if quota == math.inf else max(1, min(count, math.floor(quota)))


def quota_cpus(groups: Path = _GROUPS, membership: Path = _MEMBERSHIP) -> float:
    """CPUs that the control groups of this process grant; infinity where nothing is limited.

    Parameters
    ----------
    groups
        Where the control groups are mounted: version 2, or version 1 with its folder ``cpu``.
    membership
        The file that names the groups of this process.
    """
    if not membership.is_file():
        return math.inf
    lines = re.findall(r"^\d+:([^:]*):/(.*)$", membership.read_text(), flags=re.MULTILINE)
    own = {controller: place for names, place in lines for controller in names.split(",")}
    grants = [math.inf]
    for group in _upwards(groups, own.get("", "")):
        if (group / "cpu.max").is_file():
            quota, period = (group / "cpu.max").read_text().split()
            grants.append(math.inf if quota == "max" else int(quota) / int(period))
    for group in _upwards(groups / "cpu", own.get("cpu", "")):
        if (group / "cpu.cfs_quota_us").is_file():
            quota, period = (
                (group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
            grants.append(math.inf if int(quota) < 0 else int(quota) / int(period))
    return min(grants)


def _upwards(root: Path, place: str) -> list[Path]:
    """A group and those that it is in; inside a container some of these are not there."""
    group = root / place
    return [group, *(parent for parent in group.parents if parent.is_relative_to(root))]
