"""Statistics: what containers and pods use, by lists, streams and filters."""
import os
import socket
import subprocess

import grpc
import pytest
from kit.wait import wait_for
from support import NODE, error_of
from test_resources import with_swap

BUSY = "while :; do :; done"


def parent(node, name):
    """A cgroup parent of a pod's own, as a kubelet makes them. crisp takes it away with the pod."""
    return {"linux": {"cgroup_parent": node.daemon.child_cgroup(name), **node.namespaces()}}


def stats(node, container):
    return node.client.ContainerStats(container_id=container).stats


def pod_stats(node, pod):
    return node.client.PodSandboxStats(pod_sandbox_id=pod[0]).stats


def listed(node, **filter):
    return sorted(s.attributes.id for s in node.client.ListContainerStats(filter=filter).stats)


def streamed(node, **filter):
    return sorted(s.attributes.id for message in node.client.StreamContainerStats(filter=filter) for s in message.container_stats)


def listed_pods(node, **filter):
    return sorted(s.attributes.id for s in node.client.ListPodSandboxStats(filter=filter).stats)


# ---- which ----

def test_filters(node):
    one, two = node.pod(labels={"app": "a"}), node.pod(labels={"app": "b"})
    first = node.sleeper(one, name="first", labels={"x": "1"})
    second = node.sleeper(two, name="second", labels={"x": "2"})
    third = node.sleeper(two, name="third", labels={"x": "1", "y": "3"})
    assert listed(node) == sorted([first, second, third])
    assert listed(node, id=second) == [second]
    assert listed(node, id=second[:20]) == [second]
    assert listed(node, pod_sandbox_id=two[0]) == sorted([second, third])
    assert listed(node, label_selector={"x": "1"}) == sorted([first, third])
    assert listed(node, label_selector={"x": "1"}, pod_sandbox_id=two[0]) == [third]
    assert listed(node, id="0" * 64) == []
    assert listed_pods(node) == sorted([one[0], two[0]])
    assert listed_pods(node, id=one[0][:20]) == [one[0]]
    assert listed_pods(node, label_selector={"app": "b"}) == [two[0]]
    assert listed_pods(node, label_selector={"app": "c"}) == []


def test_unknown_and_ended(node):
    pod = node.pod(annotations={"n": "o"})
    error_of(lambda: node.client.ContainerStats(container_id="0" * 64), grpc.StatusCode.NOT_FOUND)
    error_of(lambda: node.client.PodSandboxStats(pod_sandbox_id="0" * 64), grpc.StatusCode.NOT_FOUND)
    created = node.create(pod, ["/bin/true"], name="created")
    ended = node.sh(pod, "exit 0", name="ended", labels={"l": "m"}, annotations={"p": "q"})
    node.wait_exit(ended)
    assert listed(node) == streamed(node) == []
    # By itself it still says whose it is, and nothing that it does not use any more.
    for container, name in [(created, "created"), (ended, "ended")]:
        found = stats(node, container)
        assert (found.attributes.id, found.attributes.metadata.name) == (container, name)
        assert not found.HasField("cpu") and not found.HasField("memory")
    attributes = stats(node, ended).attributes
    assert dict(attributes.labels) == {"l": "m"} and dict(attributes.annotations) == {"p": "q"}
    # Of a pod those count that use something.
    running = node.sleeper(pod, name="running")
    assert listed(node) == streamed(node) == [running]
    [in_list] = node.client.ListPodSandboxStats().stats
    for found in (pod_stats(node, pod), in_list):
        assert [c.attributes.id for c in found.linux.containers] == [running]
    node.client.StopPodSandbox(pod_sandbox_id=pod[0])
    assert listed_pods(node) == []
    found = pod_stats(node, pod)
    assert found.attributes.id == pod[0] and dict(found.attributes.annotations) == {"n": "o"}
    assert not found.linux.HasField("cpu") and not found.linux.containers


def test_streams_tell_the_same_as_lists(node):
    pods = [node.pod() for _ in range(2)]
    containers = [node.sleeper(pod, name=name) for pod in pods for name in ("a", "b")]
    got = [s for message in node.client.StreamContainerStats() for s in message.container_stats]
    assert sorted(s.attributes.id for s in got) == sorted(containers) == listed(node)
    assert all(s.HasField("cpu") and s.HasField("memory") for s in got)
    assert streamed(node, pod_sandbox_id=pods[0][0]) == sorted(containers[:2])
    got = [s for message in node.client.StreamPodSandboxStats() for s in message.pod_sandbox_stats]
    assert sorted(s.attributes.id for s in got) == sorted(pod[0] for pod in pods)
    assert all(len(s.linux.containers) == 2 for s in got)
    assert not [m for m in node.client.StreamPodSandboxStats(filter={"id": "0" * 64}) if m.pod_sandbox_stats]


# ---- what ----

def test_processor_time_grows_and_has_a_rate(own_node):
    node = own_node(config={"stats": "collection_period = 1\n"})
    pod = node.pod(**parent(node, "busy"))
    container = node.sh(pod, BUSY)
    first = stats(node, container).cpu
    assert first.timestamp > 0
    def rated():
        cpu = stats(node, container).cpu
        return cpu if cpu.HasField("usage_nano_cores") and cpu.usage_nano_cores.value else None
    cpu = wait_for(rated, "a rate of processor use")
    assert cpu.usage_core_nano_seconds.value > first.usage_core_nano_seconds.value
    assert cpu.timestamp > first.timestamp
    # One loop cannot take more than one processor; the clocks that are compared are a little apart.
    assert 0 < cpu.usage_nano_cores.value < 1.5e9
    def pod_rated():
        found = pod_stats(node, pod).linux.cpu
        return found if found.HasField("usage_nano_cores") and found.usage_nano_cores.value else None
    assert 0 < wait_for(pod_rated, "a rate of the pod's").usage_nano_cores.value < 2.5e9


@pytest.mark.node
def test_memory(node):
    pod = node.pod()
    limit = 256 << 20
    script = "head -c 20000000 /dev/zero | tail -c 20000000 | sleep 1000"
    container = node.sh(pod, f"head -c 1000000 /dev/urandom > /file; cat /file > /dev/null; {script} & wait",
                        linux={"resources": {"memory_limit_in_bytes": limit}})
    def filled():
        memory = stats(node, container).memory
        return memory if memory.rss_bytes.value > 10e6 else None
    memory = wait_for(filled, "memory in use")
    assert 0 < memory.rss_bytes.value <= memory.usage_bytes.value <= limit
    assert memory.rss_bytes.value * 0.9 <= memory.working_set_bytes.value <= memory.usage_bytes.value
    assert memory.available_bytes.value == limit - memory.working_set_bytes.value
    assert memory.page_faults.value > 100  # huge pages need few
    assert memory.HasField("major_page_faults") and memory.timestamp > 0
    unlimited = node.sleeper(pod, name="unlimited")
    assert not stats(node, unlimited).memory.HasField("available_bytes")


@pytest.mark.skipif(not with_swap(), reason="this kernel does not count swap")
@pytest.mark.node
def test_swap(node):
    pod = node.pod()
    resources = {"memory_limit_in_bytes": 64 << 20, "memory_swap_limit_in_bytes": 96 << 20}
    swap = stats(node, node.sleeper(pod, name="limited", linux={"resources": resources})).swap
    assert swap.timestamp > 0 and swap.HasField("swap_usage_bytes")
    assert swap.swap_available_bytes.value == (32 << 20) - swap.swap_usage_bytes.value
    swap = stats(node, node.sleeper(pod, name="unlimited")).swap
    assert swap.timestamp > 0 and not swap.HasField("swap_available_bytes")


def pressure_is_counted(node, container):
    pid = node.pid_of(container)
    for line in open(f"/proc/{pid}/cgroup", encoding="utf-8"):
        number, _, path = line.rstrip("\n").split(":", 2)
        if number == "0":
            root = "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
            return path != "/" and os.path.exists(f"{root}{path}/cpu.pressure")
    return False


@pytest.mark.node
def test_pressure(node):
    pod = node.pod()
    container = node.sh(pod, f"for i in 1 2 3 4 5 6; do ({BUSY}) & done; wait", linux={"resources": {"cpu_shares": 1024}})
    if not pressure_is_counted(node, container):
        found = stats(node, container)
        assert not found.cpu.HasField("psi") and not found.HasField("io")
        pytest.skip("the kernel counts no pressure for this container's cgroup")
    def waiting():
        found = stats(node, container)
        return found if found.cpu.psi.Some.Total > 0 else None
    found = wait_for(waiting, "pressure on the processor")
    assert 0 <= found.cpu.psi.Full.Total <= found.cpu.psi.Some.Total
    assert found.memory.HasField("psi") and found.io.HasField("psi") and found.io.timestamp > 0


@pytest.mark.node
def test_pressure_of_a_pod(node):
    pod = node.pod(**parent(node, "pressed"))
    container = node.sh(pod, f"for i in 1 2 3 4 5 6; do ({BUSY}) & done; wait")
    if not pressure_is_counted(node, container):
        assert not pod_stats(node, pod).linux.HasField("io")
        pytest.skip("the kernel counts no pressure for this container's cgroup")
    linux = wait_for(lambda: (found := pod_stats(node, pod).linux).cpu.psi.Some.Total and found, "pressure on the processor")
    assert linux.memory.HasField("psi") and linux.io.HasField("psi") and linux.io.timestamp > 0


def test_writable_layer(node):
    pod = node.pod()
    container = node.sleeper(pod)
    def measured(bound):
        layer = stats(node, container).writable_layer
        return layer if layer.timestamp and layer.used_bytes.value > bound else None
    before = wait_for(lambda: measured(-1), "the first measurement")
    assert before.fs_id.mountpoint == f"{node.daemon.state}/containers"
    node.exec_sh(container, "head -c 3000000 /dev/zero > /big; mkdir /many; for i in 1 2 3 4 5; do echo $i > /many/$i; done")
    after = wait_for(lambda: measured(3000000), "what was written", seconds=120)
    assert after.used_bytes.value - before.used_bytes.value >= 3000000
    assert after.inodes_used.value - before.inodes_used.value == 7
    assert after.timestamp > before.timestamp
    assert node.client.ImageFsInfo().container_filesystems[0].used_bytes.value >= after.used_bytes.value


# ---- pods ----

def test_interfaces(node):
    pod = node.pod()
    node.sleeper(pod)
    before = pod_stats(node, pod).linux.network
    assert before.default_interface.name == "eth0" and before.timestamp > 0
    assert not before.interfaces
    address = node.pod_status(pod[0]).network.ip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(5):
            sender.sendto(b"x" * 1000, (address, 9))
    def moved():
        network = pod_stats(node, pod).linux.network.default_interface
        return network if network.rx_bytes.value >= before.default_interface.rx_bytes.value + 5000 else None
    after = wait_for(moved, "traffic on eth0")
    # Nobody listens there, and the pod's kernel says so.
    assert after.tx_bytes.value > before.default_interface.tx_bytes.value
    assert after.HasField("rx_errors") and after.HasField("tx_errors")


def test_further_interfaces(node):
    pod = node.pod()
    inside = ["nsenter", f"--net={node.daemon.root}/run/pods/{pod[0]}/ns/net"]
    subprocess.run([*inside, "ip", "link", "add", "net1", "type", "veth", "peer", "name", "net2"], check=True)
    network = pod_stats(node, pod).linux.network
    assert network.default_interface.name == "eth0"
    assert {i.name for i in network.interfaces} == {"net1", "net2"}
    assert all(i.HasField("rx_bytes") and i.HasField("tx_bytes") for i in network.interfaces)


def test_interfaces_without_a_process(node):
    pod = node.pod()
    found = pod_stats(node, pod).linux
    assert found.network.default_interface.rx_bytes.value >= 0 and found.network.default_interface.name == "eth0"
    assert not found.containers


def test_the_hosts_network_is_not_the_pods(node):
    pod = node.pod(linux=node.namespaces(network=NODE))
    assert not pod_stats(node, pod).linux.HasField("network")


def test_nothing_holds_a_namespace_that_was_asked_about(node):
    """The leak check after this test would find its interfaces; here they go with the pod."""
    pod = node.pod()
    inode = os.stat(f"{node.daemon.root}/run/pods/{pod[0]}/ns/net").st_ino
    assert pod_stats(node, pod).linux.HasField("network")
    sockets = len(os.listdir(f"/proc/{node.daemon.pid}/fd"))
    node.client.StopPodSandbox(pod_sandbox_id=pod[0])
    assert len(os.listdir(f"/proc/{node.daemon.pid}/fd")) < sockets
    assert inode


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.node
def test_pod(node, own):
    pod = node.pod(labels={"p": "q"}, **(parent(node, "apod") if own else {}))
    # Without a cgroup of its own the pod's use is added up; another one beside it must not count.
    other = node.pod()
    node.sh(other, BUSY)
    containers = [node.sleeper(pod, name=name) for name in ("a", "b")]
    wait_for(lambda: pod_stats(node, pod).linux.process.process_count.value == 4, "two shells and two sleeps")
    found = pod_stats(node, pod)
    assert found.attributes.id == pod[0] and found.attributes.metadata.name == pod[1]["metadata"]["name"]
    assert dict(found.attributes.labels) == {"p": "q"} and not found.HasField("windows")
    linux = found.linux
    assert sorted(c.attributes.id for c in linux.containers) == sorted(containers)
    parts = [c.memory.usage_bytes.value for c in linux.containers]
    assert linux.memory.usage_bytes.value >= sum(parts) * 0.5
    assert linux.memory.usage_bytes.value <= sum(parts) * 3 + (64 << 20)
    if not own:
        assert linux.memory.usage_bytes.value == sum(parts)
        assert linux.cpu.usage_core_nano_seconds.value == sum(c.cpu.usage_core_nano_seconds.value for c in linux.containers)
    assert linux.cpu.timestamp > 0 and linux.cpu.usage_core_nano_seconds.value > 0
    assert linux.process.timestamp > 0


def test_descriptors_and_memory_stay(node):
    pod = node.pod()
    container = node.sleeper(pod)
    for _ in range(5):
        node.client.ListContainerStats()
        node.client.ListPodSandboxStats()
    before = len(os.listdir(f"/proc/{node.daemon.pid}/fd"))
    for _ in range(200):
        node.client.ListContainerStats()
        node.client.ListPodSandboxStats()
    assert len(os.listdir(f"/proc/{node.daemon.pid}/fd")) <= before + 2
    node.stop(container)
    node.client.RemoveContainer(container_id=container)
    assert len(os.listdir(f"/proc/{node.daemon.pid}/fd")) < before


@pytest.mark.node
def test_after_a_restart(own_node):
    node = own_node()
    pod = node.pod()
    container = node.sleeper(pod)
    before = stats(node, container).cpu.usage_core_nano_seconds.value
    node.daemon.kill()
    node.daemon.start()
    after = stats(node, container)
    assert after.cpu.usage_core_nano_seconds.value >= before and after.memory.usage_bytes.value > 0
    assert pod_stats(node, pod).linux.network.default_interface.name == "eth0"
