"""The tables that the benchmark prints."""
import platform
import statistics

ORDER = [
    "RunPodSandbox", "CreateContainer", "StartContainer", "CreateContainer + StartContainer", "ExecSync",
    "StopContainer", "RemoveContainer", "StopPodSandbox", "RemovePodSandbox",
    "Version", "Status", "ListPodSandbox", "ListContainers", "PodSandboxStatus", "ContainerStatus", "ListImages", "ImageStatus",
    "PullImage",
]

# Limits of the design: what a call may take beside the programs that it waits for, in ms.
RUN_POD = 5
RUN_CONTAINER = 5
EXEC = 2
# In MB of proportional set size; and descriptors beyond stdio.
DAEMON_IDLE, DAEMON_FULL, MONITOR = 9, 12, 0.10
RESTART = 1000
STATS = 0.1  # ms for each container that runs
LIST_COUNT, LIST = 10000, 50  # containers, ms at the 99th percentile


def median(values):
    return statistics.median(values)


def percentile(values, part=0.99):
    """The smallest value that this part of all is not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * part // 1) - 1))]


def _verdict(value, limit):
    return "held" if value <= limit else f"missed by {value - limit:.2f}"


def _times(runs, limits):
    print(f"{'ms':34}" + "".join(f"{run.subject.name:>12}{'99th':>9}" for run in runs), end="")
    print(f"{'ratio':>8}" * (len(runs) > 1) + "  limit")
    for name in ORDER:
        row = [run.times.get(name) for run in runs]
        if not row[0]:
            continue
        line = f"{name:34}"
        for values in row:
            line += f"{median(values):12.2f}{percentile(values):9.2f}" if values else f"{'-':>12}{'-':>9}"
        if len(runs) > 1:
            line += f"{median(row[0]) / median(row[1]):8.2f}" if row[1] else f"{'-':>8}"
        if name in limits:
            limit, why = limits[name]
            line += f"  {limit:.2f} ({why}): {_verdict(median(row[0]), limit)}"
        print(line)


def _limits(direct):
    if not direct:
        return {}
    add, execute = median(direct["ADD"]), median(direct["exec"])
    run = median(direct["create"]) + median(direct["start"])
    return {
        "RunPodSandbox": (add + RUN_POD, f"plugins {add:.2f} + {RUN_POD}"),
        "CreateContainer + StartContainer": (run + RUN_CONTAINER, f"runtime {run:.2f} + {RUN_CONTAINER}"),
        "ExecSync": (execute + EXEC, f"runtime {execute:.2f} + {EXEC}"),
    }


def _memory(runs, count):
    print(f"\n{'MB, proportional':34}" + "".join(f"{run.subject.name:>12}" for run in runs), end="")
    print(f"{'ratio':>8}" * (len(runs) > 1) + "  limit")
    rows = [("daemon, idle", "idle", "daemon", DAEMON_IDLE)]
    for when in [w for w in runs[0].memory if isinstance(w, int)]:
        rows.append((f"daemon, {when} pods", when, "daemon", DAEMON_FULL if when == 100 else None))
        rows.append((f"beside each container, {when} pods", when, "helper", MONITOR if when == 100 else None))
        rows.append((f"descriptors of one, {when} pods", when, "descriptors", None))
    rows.append((f"daemon, restarted with {count} pods", "restarted", "daemon", None))
    rows.append(("daemon, all pods removed", "afterwards", "daemon", None))
    for title, when, key, limit in rows:
        values = [run.memory[when][key] for run in runs]
        line = f"{title:34}" + "".join("           -" if v is None else f"{v:12.2f}" for v in values)
        if len(runs) > 1:
            line += f"{values[0] / values[1]:8.2f}" if all(v for v in values) else f"{'-':>8}"
        if limit is not None and values[0] is not None:
            line += f"  {limit:.2f}: {_verdict(values[0], limit)}"
        print(line)


def show(runs, count, many):
    first = runs[0]
    handler = first.subject.handler
    print(f"{count} pods of one container, one after the other; {handler}; Linux {platform.release()}. Median and 99th percentile")
    print("as a client in Python sees them, of which the cheapest call below shows its own part.\n")
    _times(runs, _limits(first.direct))
    print(f"\n{'ms, restart after kill -9':34}" + "".join(f"{run.restarted:12.0f}{'':9}" for run in runs), end="")
    print(f"{first.restarted / runs[1].restarted:8.2f}" if len(runs) > 1 else "", end="")
    print(f"  {RESTART}: {_verdict(first.restarted, RESTART)}")
    _memory(runs, count)
    print(f"\n{'ms, alone':34}{'median':>12}{'99th':>9}")
    for name, values in first.direct.items():
        what = "plugins" if name in ("ADD", "DEL") else handler
        print(f"{what + ' ' + name:34}{median(values):12.2f}{percentile(values):9.2f}")
    print(f"\n{'ended containers':>18}{'ms, start':>12}{'ms, list':>12}{'99th':>9}{'MB':>9}  limit")
    for containers, started, times, size in many:
        line = f"{containers:18}{started:12.0f}{median(times):12.2f}{percentile(times):9.2f}{size:9.2f}"
        if containers == LIST_COUNT:
            line += f"  list {LIST}: {_verdict(percentile(times), LIST)}"
        else:
            line += f"  start {RESTART}: {_verdict(started, RESTART)}"
        print(line)
    if len(runs) > 1:
        print("\nBeside each container: crisp's monitor; containerd's shim and pause process.")


def show_stats(results, before, after, running, records):
    print(f"\n{f'statistics: {running} run, {records} records':34}{'ms':>12}{'99th':>9}{'each':>9}{'CPU each':>10}  limit")
    for name, (times, used) in results.items():
        each = median(times) / running
        print(f"{name:34}{median(times):12.2f}{percentile(times):9.2f}{each:9.3f}{used / running:10.3f}", end="")
        print(f"  {STATS}: {_verdict(each, STATS)}" if name == "ListContainerStats" else "")
    print(f"{'daemon before and after, MB':34}{before:12.2f}{after:9.2f}")
