"""What a container may use: what the kernel is told, what the status says, and what is refused."""
import json
import os
import re

import pytest
from support import KINDS, error_of

pytestmark = pytest.mark.handler

MIB = 1 << 20
CGROUPS = "/sys/fs/cgroup"


def cgroup_v2():
    return os.path.exists(f"{CGROUPS}/cgroup.controllers")


def cgroup(node, container, controller, file):
    """A file of the container's cgroup, of v1 or v2."""
    info = json.loads(node.client.ContainerStatus(container_id=container, verbose=True).info["info"])
    folder = f"{CGROUPS}{info['cgroupPath']}" if cgroup_v2() else f"{CGROUPS}/{controller}{info['cgroupPath']}"
    with open(f"{folder}/{file}") as opened:
        return opened.read().strip()


def memory_limit(node, container):
    return cgroup(node, container, "memory", "memory.max" if cgroup_v2() else "memory.limit_in_bytes")


def swap_limit(node, container):
    """Bytes of memory and swap together."""
    if cgroup_v2():
        return str(int(memory_limit(node, container)) + int(cgroup(node, container, "memory", "memory.swap.max")))
    return cgroup(node, container, "memory", "memory.memsw.limit_in_bytes")


def cpu_quota(node, container):
    if cgroup_v2():
        return tuple(cgroup(node, container, "cpu", "cpu.max").split())
    return tuple(cgroup(node, container, "cpu", f"cpu.cfs_{name}_us") for name in ("quota", "period"))


def cpu_shares(node, container):
    """v2's weight is made of them by the runtime's formula."""
    if cgroup_v2():
        return cgroup(node, container, "cpu", "cpu.weight")
    return cgroup(node, container, "cpu", "cpu.shares")


def weight(shares):
    return str(1 + (shares - 2) * 9999 // 262142) if cgroup_v2() else str(shares)


def hugepage_sizes():
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except FileNotFoundError:
        return []
    sizes = [int(re.search(r"\d+", name).group()) for name in names]
    return [f"{kib >> 20}GB" if kib >= 1 << 20 else f"{kib >> 10}MB" if kib >= 1 << 10 else f"{kib}KB" for kib in sizes]


def with_swap():
    return cgroup_v2() or os.path.exists(f"{CGROUPS}/memory/memory.memsw.limit_in_bytes")


@pytest.mark.node
def test_every_limit_is_the_kernels_and_the_statuss(node):
    asked = {
        "cpu_period": 50000, "cpu_quota": 20000, "cpu_shares": 512, "memory_limit_in_bytes": 64 * MIB,
        "cpuset_cpus": "0", "cpuset_mems": "0", "oom_score_adj": 500,
        "hugepage_limits": [{"page_size": size, "limit": 0} for size in hugepage_sizes()],
    }
    container = node.sleeper(node.pod(), linux={"resources": asked})
    assert memory_limit(node, container) == str(64 * MIB)
    assert cpu_quota(node, container) == ("20000", "50000")
    assert cpu_shares(node, container) == weight(512)
    assert cgroup(node, container, "cpuset", "cpuset.cpus") == "0"
    assert cgroup(node, container, "cpuset", "cpuset.mems") == "0"
    with open(f"/proc/{node.pid_of(container)}/oom_score_adj") as file:
        assert file.read().strip() == "500"
    said = node.status(container).resources.linux
    for key, value in asked.items():
        if key != "hugepage_limits":
            assert getattr(said, key) == value, key
    assert [limit.page_size for limit in said.hugepage_limits] == hugepage_sizes()


@pytest.mark.skipif(not with_swap(), reason="this kernel does not limit swap")
@pytest.mark.parametrize("memory, asked, total", [
    (32 * MIB, 0, 32 * MIB),  # none, unless it is asked for
    (32 * MIB, 32 * MIB, 32 * MIB),
    (32 * MIB, 48 * MIB, 48 * MIB),
    (32 * MIB, -1, None),
])
def test_swap(node, memory, asked, total):
    resources = {"memory_limit_in_bytes": memory, "memory_swap_limit_in_bytes": asked}
    container = node.sleeper(node.pod(), linux={"resources": resources})
    if total is None:
        if cgroup_v2():
            assert cgroup(node, container, "memory", "memory.swap.max") == "max"
        else:
            assert int(swap_limit(node, container)) > 1 << 60
    else:
        assert swap_limit(node, container) == str(total)
    assert node.status(container).resources.linux.memory_swap_limit_in_bytes == (total or -1)


def test_no_limits_are_the_kernels_own(node):
    container = node.sleeper(node.pod())
    assert cpu_quota(node, container)[0] in ("-1", "max")
    assert memory_limit(node, container) == "max" or int(memory_limit(node, container)) > 1 << 60
    said = node.status(container).resources
    assert (said.linux.memory_limit_in_bytes, said.linux.cpu_quota, said.linux.cpu_shares) == (0, 0, 0)
    assert said.HasField("linux") and not said.HasField("windows")


@pytest.mark.node
def test_an_oom_score_below_the_daemons_own_does_not_stop_a_container(node):
    """What the kubelet asks for guaranteed pods; where the daemon may not lower it, its own is the least."""
    container = node.sleeper(node.pod(), linux={"resources": {"oom_score_adj": -997}})
    with open(f"/proc/{node.daemon.pid}/oom_score_adj") as file:
        own = int(file.read())
    with open(f"/proc/{node.daemon.pid}/status") as file:
        capabilities = int(re.search(r"CapEff:\s*(\w+)", file.read()).group(1), 16)
    expected = -997 if capabilities >> 24 & 1 else max(own, -997)
    with open(f"/proc/{node.pid_of(container)}/oom_score_adj") as file:
        assert int(file.read()) == expected
    assert node.status(container).resources.linux.oom_score_adj == expected


@pytest.mark.parametrize("resources, field", [
    ({"hugepage_limits": [{"page_size": "3MB", "limit": 0}]}, "hugepage_limits"),
    ({"hugepage_limits": [{"page_size": "lots", "limit": 0}]}, "hugepage_limits"),
    ({"cpuset_cpus": "a"}, "cpuset_cpus"),
    ({"cpuset_cpus": "1-0"}, "cpuset_cpus"),
    ({"cpuset_mems": "0,"}, "cpuset_mems"),
    ({"cpu_quota": -2}, "cpu_quota"),
    ({"oom_score_adj": 1001}, "oom_score_adj"),
    ({"memory_limit_in_bytes": 64 * MIB, "memory_swap_limit_in_bytes": 32 * MIB}, "memory_swap_limit_in_bytes"),
    ({"unified": {"../memory.max": "1"}}, "unified"),
    ({"unified": {"cgroup.procs": "1"}}, "unified"),
])
def test_what_cannot_be_is_refused_by_its_name(node, resources, field):
    message = error_of(lambda: node.create(node.pod(), ["true"], linux={"resources": resources}), KINDS.INVALID_ARGUMENT)
    assert f"config.linux.resources.{field}" in message


@pytest.mark.skipif(cgroup_v2(), reason="of v1")
def test_files_of_cgroup_v2_are_refused_on_v1(node):
    resources = {"unified": {"memory.high": "33554432"}}
    message = error_of(lambda: node.create(node.pod(), ["true"], linux={"resources": resources}), KINDS.FAILED_PRECONDITION)
    assert "config.linux.resources.unified" in message and "memory.high" in message


@pytest.mark.skipif(not cgroup_v2(), reason="of v2")
@pytest.mark.node
def test_unified(node):
    container = node.sleeper(node.pod(), linux={"resources": {"unified": {"memory.high": str(32 * MIB)}}})
    assert cgroup(node, container, "memory", "memory.high") == str(32 * MIB)
    assert dict(node.status(container).resources.linux.unified) == {"memory.high": str(32 * MIB)}


def test_the_least_memory_of_a_handler(own_node, own_daemon):
    handler = own_daemon(start=False, network=False).handler
    node = own_node(config={f"runtime.handlers.{handler}": "container_min_memory_kib = 20480\n"})
    pod = node.pod()
    message = error_of(
        lambda: node.create(pod, ["true"], linux={"resources": {"memory_limit_in_bytes": 20 * MIB - 1}}), KINDS.INVALID_ARGUMENT)
    assert "memory_limit_in_bytes" in message and "container_min_memory_kib" in message
    node.sleeper(pod, name="enough", linux={"resources": {"memory_limit_in_bytes": 20 * MIB}})


def test_too_little_memory_is_refused_without_any_configuration(node):
    least = 500 << 10 if node.daemon.handler == "crun" else 12 * MIB
    message = error_of(
        lambda: node.create(node.pod(), ["true"], linux={"resources": {"memory_limit_in_bytes": least - 1}}), KINDS.INVALID_ARGUMENT)
    assert "memory_limit_in_bytes" in message


def test_the_nodes_limit_of_processes(own_node):
    node = own_node(config={"runtime": "pids_limit = 23\n"})
    container = node.sleeper(node.pod())
    assert cgroup(node, container, "pids", "pids.max") == "23"
    node.client.UpdateContainerResources(container_id=container, linux={"cpu_shares": 100})
    assert cgroup(node, container, "pids", "pids.max") == "23"


# ---- the pod as a whole ----

def annotations(node, container):
    with open(f"{node.daemon.state}/containers/{container}/bundle/config.json") as file:
        return json.load(file)["annotations"]


def pod_info(node, pod):
    return json.loads(node.client.PodSandboxStatus(pod_sandbox_id=pod, verbose=True).info["info"])


def test_pod_resources_are_told_to_the_runtime(node):
    pod = node.pod(linux={
        "overhead": {"memory_limit_in_bytes": 5 * MIB},
        "resources": {"cpu_period": 100000, "cpu_quota": 50000, "cpu_shares": 256, "memory_limit_in_bytes": 100 * MIB},
    })
    told = annotations(node, node.create(pod, ["true"]))
    assert json.loads(told["pod-linux-overhead.crio.io"]) == {"memory_limit_in_bytes": 5 * MIB}
    assert json.loads(told["pod-linux-resources.crio.io"]) == {
        "cpu_period": 100000, "cpu_quota": 50000, "cpu_shares": 256, "memory_limit_in_bytes": 100 * MIB}
    assert told["io.kubernetes.cri.sandbox-cpu-period"] == "100000"
    assert told["io.kubernetes.cri.sandbox-cpu-quota"] == "50000"
    assert told["io.kubernetes.cri.sandbox-cpu-shares"] == "256"
    assert told["io.kubernetes.cri.sandbox-memory"] == str(100 * MIB)


def test_pod_resources_change_and_outlive_the_daemon(own_node):
    node = own_node()
    pod = node.pod(linux={"overhead": {"cpu_shares": 2}, "resources": {"cpu_shares": 10}})
    node.client.UpdatePodSandboxResources(pod_sandbox_id=pod[0], resources={"cpu_shares": 20, "memory_limit_in_bytes": 64 * MIB})
    for _ in range(2):
        info = pod_info(node, pod[0])
        assert info["overhead"] == {"cpu_shares": 2}
        assert info["resources"] == {"cpu_shares": 20, "memory_limit_in_bytes": 64 * MIB}
        node.daemon.kill()
        node.daemon.start()
    told = annotations(node, node.create(pod, ["true"]))
    assert told["io.kubernetes.cri.sandbox-cpu-shares"] == "20"
    node.client.UpdatePodSandboxResources(pod_sandbox_id=pod[0], overhead={"cpu_shares": 3}, resources={"cpu_shares": 30})
    assert (pod_info(node, pod[0])["overhead"], pod_info(node, pod[0])["resources"]) == ({"cpu_shares": 3}, {"cpu_shares": 30})
    told = annotations(node, node.create(pod, ["true"], name="later"))
    assert json.loads(told["pod-linux-overhead.crio.io"]) == {"cpu_shares": 3}
    assert told["io.kubernetes.cri.sandbox-cpu-shares"] == "30"
    message = error_of(lambda: node.client.UpdatePodSandboxResources(pod_sandbox_id=pod[0], overhead={"cpu_quota": -7}),
                       KINDS.INVALID_ARGUMENT)
    assert "overhead.cpu_quota" in message
    error_of(lambda: node.client.UpdatePodSandboxResources(pod_sandbox_id="f" * 64, overhead={}), KINDS.NOT_FOUND)
