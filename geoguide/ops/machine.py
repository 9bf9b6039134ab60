"""What of this machine a process may use: cores, memory, and how many processes side by side that makes."""

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")  # of a control group, in version 2 and 1
USED = ("memory.current", "memory.usage_in_bytes")
# Pages of files within what is used; the system takes them back. Of version 1 those with the groups below.
CACHED = (("total_inactive_file", "inactive_file"), ("total_active_file", "active_file"))
GIB = 2**30


def cores() -> int:
    """How many cores this process may use.

    Returns:
        As many as its affinity and the quotas of its control groups leave of the machine's: what a scheduler, a
        container or `taskset` gave it. At least 1.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas())]))


def available_memory() -> int | None:
    """How much memory this process and those that it starts may still take.

    Returns:
        Bytes: what the system has available, or less where a control group (a container, a job of Slurm) has a limit;
        where the system does not say, all memory of the machine; None where that is not known either.
    """
    available = _table(PROC / "meminfo").get("MemAvailable")
    free = [] if available is None else [1024 * available]
    for group in _groups("memory"):
        used = _number(group, *USED)
        limits = [limit for name in LIMITS if (limit := _number(group, name)) is not None]
        if used is not None and limits:
            held = _table(group / "memory.stat")
            cached = sum(next((held[name] for name in names if name in held), 0) for names in CACHED)
            free.append(max(0, min(limits) - max(0, used - cached)))
    if free:
        return min(free)
    names = getattr(os, "sysconf_names", {})  # macOS has this number alone
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_PHYS_PAGES" in names else None


def fitting(each: float, jobs: int | None = None, *, room: tuple[int, str] | None = None) -> int:
    """How many processes to run side by side: one for each core, or as many as there is memory for.

    Where there is memory for fewer, one line on standard error says so.

    Args:
        each: Bytes that one of them may take.
        jobs: That there are to do; None: no fewer than cores.
        room: Where a GPU's memory decides too, for how many it suffices, and why, in words.

    Returns:
        At least 1.

    Example:
        >>> fitting(1.0, jobs=1)
        1
    """
    wanted = cores() if jobs is None else min(cores(), jobs)
    found = [(wanted, ""), *([] if room is None else [room])]
    available = available_memory()
    if available is not None:
        about = f"{available / GIB:.1f} GiB of memory are available, and each may take {each / GIB:.1f} GiB"
        found.append((int(available // each), about))
    most, why = min(found)
    taken = max(1, most)
    if taken < wanted:
        count = "1 process" if taken == 1 else f"{taken} processes"
        print(
            f"geoguide: {count} at a time, where cores suffice for {wanted}: {why} (--workers sets another number)",
            file=sys.stderr,
        )
    return taken


def _groups(controller: str) -> Iterator[Path]:
    """The folders of the control groups that hold this process for a controller, and of all groups above them."""
    try:
        lines = (PROC / "self" / "cgroup").read_text(errors="replace").splitlines()
    except OSError:  # no such system
        return
    for line in lines:
        _, controllers, named = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = CGROUPS / controller if controllers else CGROUPS
        parts = [part for part in named.split("/") if part]
        own = top if ".." in parts else top.joinpath(*parts)  # of a namespace's outside nothing is seen
        yield from (own, *(folder for folder in own.parents if folder.is_relative_to(top)))


def _quotas() -> Iterator[float]:
    """The cores that control groups leave, by their share of processor time."""
    for group in _groups("cpu"):
        quota, period = _number(group, "cpu.cfs_quota_us"), _number(group, "cpu.cfs_period_us")  # version 1
        if quota is None:
            quota, period = _number(group, "cpu.max"), _number(group, "cpu.max", word=1)
        if quota is not None and period is not None and quota > 0 and period > 0:
            yield quota / period


def _number(folder: Path, *names: str, word: int = 0) -> int | None:
    """A word of the first of these files that is there, as a number; None where none is, or where it says "max"."""
    for name in names:
        try:
            return int((folder / name).read_text().split()[word])
        except (OSError, ValueError, IndexError):
            continue
    return None


def _table(path: Path) -> dict[str, int]:
    """The numbers of a file with a name and a number on each line; empty where there is no such file."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    rows = (line.replace(":", " ").split() for line in lines)
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
