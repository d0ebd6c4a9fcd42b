"""
Statistics with many containers: some run, and the records of ten thousand lie beside them, ended long ago.
"""
import os
import secrets
import shutil
import time

import scale
from kit.cri import pb
from subjects import Crisp, pss
from support import Node

RUNNING, PODS = 100, 10  # containers that run, in so many pods
RECORDS = 10000
ROUNDS = 100
CALLS = {
    "ListContainerStats": pb.ListContainerStatsResponse,
    "ListPodSandboxStats": pb.ListPodSandboxStatsResponse,
    "ListPodSandboxMetrics": pb.ListPodSandboxMetricsResponse,
}


def processor_time(pid):
    """Milliseconds of processor time that a process has had: what a busy machine does not stretch."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def settle(daemon):
    """Waits until the daemon does nothing by itself."""
    while True:
        before = processor_time(daemon.pid)
        time.sleep(1)
        if processor_time(daemon.pid) - before < 50:
            return


def _count(name, answer):
    message = CALLS[name].FromString(answer)
    if name == "ListContainerStats":
        return len(message.stats)
    if name == "ListPodSandboxStats":
        return sum(len(pod.linux.containers) for pod in message.stats)
    return sum(len(pod.container_metrics) for pod in message.pod_metrics)


def measure(build, handler, folder, image):
    """Of each call the ms that it took and its processor time, and the daemon's MB before anybody asked and after."""
    daemon, copies, results = Crisp(build, handler, f"{folder}/stats"), [], {}
    try:
        daemon.start()
        node = Node(daemon, image)
        pods = []
        for number in range(PODS):
            name = secrets.token_hex(4)
            pods.append(node.pod(linux={"cgroup_parent": f"{daemon.cgroup}/pod{name}", **node.namespaces()}))
            for each in range(RUNNING // PODS):
                node.run(pods[-1], ["/bin/sleep", "1000000"], name=f"c{number}-{each}")
        original = node.run(pods[0], ["true"])
        node.wait_exit(original)
        daemon.terminate()
        while len(copies) < RECORDS - RUNNING - 1:
            copies.append(scale.copy(daemon, original, len(copies), True))
        daemon.start()
        daemon.client.ListContainers()
        time.sleep(2)
        before = pss(daemon.pid)
        # The first one to ask has all folders measured, also of those that ended: not what is timed here.
        daemon.client.ListContainerStats()
        settle(daemon)
        for name in CALLS:
            path, times = f"/runtime.v1.RuntimeService/{name}", []
            daemon.client.raw(path, b"")
            used = processor_time(daemon.pid)
            for _ in range(ROUNDS):
                began = time.perf_counter()
                answer = daemon.client.raw(path, b"")
                times.append((time.perf_counter() - began) * 1000)
            found = _count(name, answer)
            assert found == RUNNING, f"{name}: {found} of {RUNNING} containers"
            results[name] = times, (processor_time(daemon.pid) - used) / ROUNDS
        after = pss(daemon.pid)
        daemon.terminate()
        for name in copies:
            shutil.rmtree(f"{daemon.state}/containers/{name}")
        daemon.start()
        daemon.remove_everything()
    finally:
        left = daemon.destroy()
        if left:
            print("the daemon with statistics left behind:\n  " + "\n  ".join(left[:20]))
    return results, before, after
