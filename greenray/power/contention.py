"""Did others take enough of a host's processors to matter? The one rule, for windows and for hosts that are waited for.

A cell is spoiled by others in two ways: they hold a processor that one of its threads needs (then all wait for that thread), or
they share a core's units, its caches and its clock. Either shows as processor time that is not the cell's, as time that the
hypervisor gave to somebody else, or as tasks that wait. No figure of the cell's own speed or energy goes in: a window is never
judged by its value.

GreenRay's own recorder, worker, driver and Ray are among the others, for they cost a cell as much as anybody; on a quiet host all
of it keeps 0.02 to 0.1 of a processor busy. The limits of a cell that has its host to itself are measured: `python -m
tests.benchmarks.contention`. The pressure that a host shared by workers is allowed is set, not measured.
"""

NEIGHBOURS_CPUS, NEIGHBOURS_SHARE = 0.15, 0.05
"""Processors that others may keep busy beside a cell that has the host to itself, or as a share of all: the larger holds."""
STEAL_SHARE = 0.05
"""Stolen time, as a share of a processor or, where the cell keeps more than one busy, of those."""
PRESSURE = 0.10
"""Share of the time in which some task may wait for a processor, on a host that is shared between workers."""


def contention(
    *,
    neighbours_busy: float | None,
    logical_cores: int,
    steal: float | None = None,
    cpu_pressure: float | None = None,
    workers_sharing: int = 1,
    own_busy: float | None = None,
) -> str | None:
    """Why others took enough to matter, in a clause with figures; None when they did not, as far as the kernel tells.

    Args:
        neighbours_busy: processors that others kept busy on average. On a host that is shared between workers most of them are
            other cells of the sweep, which is what such a host is for: there pressure says whether they are in each other's way.
        steal: processors that the hypervisor gave to others while there was work for them.
        cpu_pressure: share of the time, 0 to 1, in which some task waited for a processor. The threads of a cell that has a host
            to itself wait for each other too, so it says nothing there.
        own_busy: processors that the cell kept busy; None if unknown.
    """
    found = []
    if workers_sharing == 1:
        if neighbours_busy is not None and neighbours_busy > max(NEIGHBOURS_CPUS, NEIGHBOURS_SHARE * logical_cores):
            found.append(f"neighbours kept {neighbours_busy:.2f} of {logical_cores} processors busy")
    elif cpu_pressure is not None and cpu_pressure > PRESSURE:
        found.append(f"tasks waited for a processor in {cpu_pressure:.0%} of the time")
    if steal is not None and steal > STEAL_SHARE * max(1.0, own_busy or 0.0):
        found.append(f"the hypervisor took {steal:.2f} processors away")
    return " and ".join(found) or None
