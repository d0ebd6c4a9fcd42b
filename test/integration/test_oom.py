"""Kills for want of memory, in varied ways: each one is told as OOMKilled."""
import itertools
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit.wait import wait_for
from support import NODE, POD, RUNNING
from test_log_files import metric
from test_stop import monitor_of

pytestmark = pytest.mark.handler

LIMIT = 16 << 20
EAT = "tail /dev/zero"  # keeps all of a line that never ends


def limited(limit=LIMIT):
    return {"resources": {"memory_limit_in_bytes": limit, "memory_swap_limit_in_bytes": limit}}


def cgroup_file(pid, name):
    """A file of a process's memory cgroup, and whether that is version 1."""
    with open(f"/proc/{pid}/cgroup") as file:
        for line in file:
            _, controllers, path = line.strip().split(":", 2)
            if "memory" in controllers.split(","):
                return f"/sys/fs/cgroup/memory{path}/{name[0]}"
    return f"/sys/fs/cgroup{path}/{name[1]}"


# Each starts a container in the pod and returns it; what it does ends it, or stop does.

def script(text):
    return lambda node, pod, name: node.sh(pod, text, name=name, linux=limited())


def first_process(node, pod, name):
    return node.run(pod, ["tail", "/dev/zero"], name=name, linux=limited())


def executed(node, pod, name):
    container = node.sleeper(pod, name=name, linux=limited())
    assert node.exec(container, "tail", "/dev/zero").exit_code == 137
    assert node.status(container).state == RUNNING
    node.stop(container, timeout=60)
    return container


def lowered(node, pod, name):
    container = node.sh(pod, f"echo up; read x; {EAT}", name=name, stdin=True, linux=limited(512 << 20))
    node.wait_log(container, "up")
    pid = node.pid_of(container)
    with open(cgroup_file(pid, ("memory.limit_in_bytes", "memory.max")), "w") as file:
        file.write(str(LIMIT))
    os.kill(pid, signal.SIGCONT)
    with open(f"/proc/{pid}/fd/0", "w") as file:
        file.write("go\n")
    return container


WAYS = {
    "first process": first_process,
    "child, and the first one goes on": script(f"{EAT}; exit 0"),
    "child, and the first one fails": script(f"{EAT}; exit 3"),
    "shell's own memory": script("x=$(head -c 200000000 /dev/zero | tr '\\0' x); echo ${#x}"),
    "many at once": script(f"for i in 1 2 3 4 5 6 7 8; do {EAT} & done; wait; exit 0"),
    "fork bomb of those who eat": script(f"b() {{ {EAT} & [ $1 -gt 0 ] && {{ b $(($1 - 1)) & b $(($1 - 1)) & }}; wait; }}; b 3; exit 0"),
    "orphan": script(f"(setsid sh -c 'echo $$ >/tmp/p; exec {EAT}' &); until [ -s /tmp/p ]; do sleep 0.01; done; "
                     "while [ -d /proc/$(cat /tmp/p) ]; do sleep 0.01; done; exit 0"),
    "tmpfs": script("dd if=/dev/zero of=/dev/shm/x bs=1M count=60; rm -f /dev/shm/x; exit 0"),
    "executed command": executed,
    "limit lowered": lowered,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.node
def test_told_whoever_was_killed(node, way):
    container = WAYS[way](node, node.pod(), "main")
    status = node.wait_exit(container, 120)
    assert status.reason == "OOMKilled", status
    if way == "first process":
        assert status.exit_code == 137
    if "goes on" in way:
        assert status.exit_code == 0


def test_memory_that_suffices_is_no_kill(node):
    status = node.wait_exit(node.sh(node.pod(), "head -c 1000000 /dev/zero | tr '\\0' x >/dev/null; exit 4", linux=limited(64 << 20)))
    assert (status.reason, status.exit_code) == ("Error", 4)


def test_a_stop_with_force_is_no_kill_for_want_of_memory(node):
    container = node.sleeper(node.pod(), linux=limited(64 << 20))
    node.stop(container, timeout=0)
    assert (node.status(container).reason, node.status(container).exit_code) == ("Error", 137)


@pytest.mark.parametrize("pids", [POD, NODE])
@pytest.mark.node
def test_in_a_pod_without_pid_namespaces_of_its_containers(node, pids):
    pod = node.pod(linux=node.namespaces(pid=pids))
    assert node.wait_exit(first_process(node, pod, "a"), 120).reason == "OOMKilled"
    assert node.wait_exit(script(f"{EAT}; exit 0")(node, pod, "b"), 120).reason == "OOMKilled"


@pytest.mark.node
def test_while_the_daemon_is_down(own_node):
    node = own_node()
    container = lowered_later(node)
    node.daemon.kill()
    with open(f"/proc/{container[1]}/fd/0", "w") as file:
        file.write("go\n")
    wait_for(lambda: not os.path.exists(f"/proc/{container[1]}"), "the container to end")
    node.daemon.start()
    assert node.wait_exit(container[0]).reason == "OOMKilled"


def lowered_later(node):
    container = node.sh(node.pod(), f"echo up; read x; exec {EAT}", stdin=True, linux=limited())
    node.wait_log(container, "up")
    return container, node.pid_of(container)


def test_counted(own_node):
    node = own_node()
    pod = node.pod()
    for i in range(2):
        node.wait_exit(first_process(node, pod, f"c{i}"), 120)
    node.wait_exit(node.sh(pod, "exit 1", name="other"))
    assert metric(node, "crisp_containers_oom_killed_total") == 2


def test_told_where_the_monitor_has_gone_too(own_node):
    """Its record is missing, but the kernel's count is still there."""
    node = own_node()
    container = node.sleeper(node.pod(), linux=limited())
    assert node.exec(container, "tail", "/dev/zero").exit_code == 137
    os.kill(monitor_of(node, container), signal.SIGKILL)
    status = node.wait_exit(container)
    assert (status.reason, status.exit_code) == ("OOMKilled", 137)
    node.daemon.kill()
    node.daemon.start()
    assert node.status(container).reason == "OOMKilled"


@pytest.mark.node
def test_in_a_cgroup_of_the_containers_own(node):
    """Version 1 counts a kill in the victim's cgroup alone: an init that makes cgroups may have put it into one."""
    pod = node.pod()
    container = node.sh(pod, f"echo up; read x; {EAT} & read y; exit 0", stdin=True, linux=limited())
    node.wait_log(container, "up")
    pid = node.pid_of(container)
    if "/memory/" not in cgroup_file(pid, ("", "")):
        pytest.skip("cgroup v2 counts for those below")
    below = cgroup_file(pid, ("below", "below"))
    os.mkdir(below)
    with open(f"{below}/cgroup.procs", "w") as file:
        file.write(str(pid))
    with open(f"/proc/{pid}/fd/0", "w") as stdin:
        stdin.write("go\n")
        stdin.flush()
        wait_for(lambda: "oom_kill 1" in open(f"{below}/memory.oom_control").read(), "the kill", 120)
        stdin.write("on\n")
    status = node.wait_exit(container)
    assert (status.reason, status.exit_code) == ("OOMKilled", 0)


@pytest.mark.slow
def test_many_kills_each_told(node):
    """CRISP_OOM_KILLS of them, four at a time, each way once in a pod."""
    wanted = int(os.environ.get("CRISP_OOM_KILLS", "30"))
    ways = list(itertools.islice(itertools.cycle(WAYS), wanted))

    def kill_in_a_pod(ways):
        pod = node.pod()
        wrong = []
        for number, way in enumerate(ways):
            status = node.wait_exit(WAYS[way](node, pod, f"c{number}"), 300)
            if status.reason != "OOMKilled":
                wrong.append((way, status.reason, status.exit_code))
        node.remove_pod(pod[0])
        return wrong

    with ThreadPoolExecutor(4) as pool:
        pods = [ways[i:i + len(WAYS)] for i in range(0, wanted, len(WAYS))]
        wrong = [each for result in pool.map(kill_in_a_pod, pods) for each in result]
    assert not wrong, f"{len(wrong)} of {wanted}: {wrong[:20]}"
    print(f"{wanted} containers were OOM-killed, {wanted} are told as OOMKilled")
