"""CPUs that this process may use, by its affinity and its container's quota, not by the machine's count."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_cpus(groups: Path = _GROUPS, own: Path = _OWN) -> float:
    """Return the CPUs this process may use at once, a fraction where a container's quota is one."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(float(here), *_quotas(groups, own), float("inf"))


def whole_cpus() -> int:
    """Return how many threads or trials of one CPU fit: `usable_cpus` rounded down, and at least 1.

    Half a CPU runs a trial of one thread too, at half its speed.
    """
    return max(int(usable_cpus()), 1)


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """Yield the quotas, in CPUs, of the process's control group and all above it (versions 2 and 1)."""
    paths = ["/"]
    with suppress(OSError):
        paths += [line.split(":", 2)[2] for line in own.read_text().splitlines() if line.count(":") >= 2]
    for path in paths:
        for folder in (Path(path.strip("/")), *Path(path.strip("/")).parents):
            with suppress(OSError, ValueError):
                quota, period = (groups / folder / "cpu.max").read_text().split()
                yield int(quota) / int(period)  # "max" is not a number: there is no quota
            with suppress(OSError, ValueError):
                place = groups / "cpu" / folder
                quota_us = int((place / "cpu.cfs_quota_us").read_text())
                if quota_us > 0:  # -1: no quota
                    yield quota_us / int((place / "cpu.cfs_period_us").read_text())
