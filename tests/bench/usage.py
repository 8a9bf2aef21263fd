"""What processes use: CPU seconds and memory, of a process or of a whole tree."""

from __future__ import annotations

import resource
from dataclasses import dataclass

import psutil

from suite import NAMES

MIB = 1 << 20


def is_service(process: str) -> bool:
    """Whether this is one of a service's processes, by its name in the stack: `encounter`, `encounter-2`."""
    return process.split("-", maxsplit=1)[0] in NAMES


@dataclass(frozen=True)
class Watched:
    """A process whose use is reported under `name`, with its children or alone."""

    name: str
    pid: int
    with_children: bool = True

    def members(self) -> list[psutil.Process]:
        """The process, and with its children if wanted; empty if it has ended."""
        try:
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)] if self.with_children else [root]
        except psutil.NoSuchProcess:
            return []

    def cpu_s(self) -> float:
        """CPU seconds since it started, those of children that ended meanwhile included."""
        total = 0.0
        for member in self.members():
            try:
                times = member.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            if self.with_children:
                total += times.children_user + times.children_system
        return total

    def memory_mib(self) -> float:
        """Resident memory; of a tree the proportional share, so that shared pages count once."""
        members = self.members()
        if len(members) == 1:
            return float(members[0].memory_info().rss) / MIB
        total = 0.0
        for member in members:
            try:
                total += member.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return total / MIB


def cpu_by_name(watched: list[Watched]) -> dict[str, float]:
    """CPU seconds by name; processes of one name are added up."""
    used: dict[str, float] = {}
    for one in watched:
        used[one.name] = used.get(one.name, 0.0) + one.cpu_s()
    return used


def memory_by_name(watched: list[Watched]) -> dict[str, float]:
    """MiB by name; processes of one name are added up."""
    used: dict[str, float] = {}
    for one in watched:
        used[one.name] = used.get(one.name, 0.0) + one.memory_mib()
    return used


def children_cpu_s() -> float:
    """CPU seconds of our children that have ended; between two looks only a load generator has."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
