"""How containers are stopped: signals, grace, force; what is frozen, what hangs, and what others notice of it."""
import os
import signal
import time

import pytest
from kit.cri import pb
from kit.hung_disk import HungDisk
from kit.wait import PATIENCE, wait_for
from support import EXITED, KINDS, NODE, POD, READY, RUNNING, error_of
from support import monitor_of as monitor_by_name
from test_log_files import metric

pytestmark = pytest.mark.handler

STUBBORN = "trap '' TERM; echo up; while :; do sleep 1000; done"


def ready(node, pod, script, **more):
    container = node.sh(pod, script, **more)
    node.wait_log(container, "up")
    return container


def processes_with(word):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(int(pid))
    return found


def monitor_of(node, container):
    """Not the parent of its process, which with a shim is the shim."""
    node.pid_of(container)
    return monitor_by_name(container)


# ---- signals ----

@pytest.mark.parametrize("name, number", [
    ("SIGRTMIN+3", 37), ("RTMAX-2", 62), ("37", 37), ("sigusr2", 12), ("SIGRTMIN", 34), ("SIGQUIT", 3),
])
def test_an_images_stop_signal(node, image, name, number):
    tag = name.lower().replace("+", "p")
    node.pull(image("stopsignal", {"StopSignal": name}, tag=tag))
    script = f"trap 'exit 11' {number}; trap 'exit 12' TERM; echo up; while :; do sleep 1000 & wait $!; done"
    container = ready(node, node.pod(), script, image=image("stopsignal", {"StopSignal": name}, tag=tag))
    node.stop(container, timeout=60)
    assert node.status(container).exit_code == 11


def test_the_requests_signal_counts_more_than_the_images(node, image):
    name = image("stopsignal", {"StopSignal": "SIGUSR2"}, tag="usr2")
    node.pull(name)
    script = "trap 'exit 11' 37; trap 'exit 12' USR2; echo up; while :; do sleep 1000 & wait $!; done"
    container = ready(node, node.pod(), script, image=name, stop_signal="SIGNAL_SIGRTMINPLUS3")
    assert node.status(container).stop_signal == pb.Signal.Value("SIGNAL_SIGRTMINPLUS3")
    node.stop(container, timeout=60)
    assert node.status(container).exit_code == 11


def test_the_signal_comes_once(node):
    """Two stops with a grace: the second one does not send it again."""
    container = ready(node, node.pod(), "trap 'echo asked' TERM; echo up; while :; do sleep 0.1; done")
    first = node.client.start("StopContainer", container_id=container, timeout=3600, deadline=3600)
    node.wait_log(container, "asked")
    node.stop(container, timeout=2)
    first.result(timeout=60)
    assert [data for _, _, data in node.log(container)].count(b"asked") == 1


# ---- grace ----

@pytest.mark.parametrize("seconds", [0, -1, -(2 ** 62)])
def test_no_grace_kills_at_once(node, seconds):
    container = ready(node, node.pod(), STUBBORN)
    node.stop(container, timeout=seconds, deadline=60)
    assert (node.status(container).state, node.status(container).exit_code) == (EXITED, 137)


def test_a_later_longer_grace_does_not_lengthen_an_earlier_one(node):
    container = ready(node, node.pod(), STUBBORN)
    first = node.client.start("StopContainer", container_id=container, timeout=3, deadline=60)
    second = node.client.start("StopContainer", container_id=container, timeout=2 ** 62, deadline=3600)
    first.result(timeout=60)
    second.result(timeout=60)
    assert node.status(container).exit_code == 137


def test_exit_codes_of_signals(node):
    pod = node.pod()
    for number in (signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT):
        container = ready(node, pod, "echo up; while :; do sleep 1000; done", name=f"by{int(number)}",
                          linux={"security_context": {"namespace_options": {"pid": NODE}}})
        os.kill(node.pid_of(container), number)
        status = node.wait_exit(container)
        assert (status.exit_code, status.reason) == (128 + number, "Error")


# ---- all that is in it ----

@pytest.mark.parametrize("pids", [POD, NODE])
def test_commands_that_were_executed_end_with_it(node, pids):
    pod = node.pod(linux=node.namespaces(pid=pids))
    container = ready(node, pod, STUBBORN)
    mark = f"78{time.monotonic_ns() % 100000:05}"
    call = node.client.start("ExecSync", container_id=container, cmd=["/bin/sh", "-c", f"setsid sleep {mark} & exec sleep {mark}"],
                             timeout=1000, deadline=1000)
    wait_for(lambda: len(processes_with(mark)) >= 2, "the command to run")
    node.stop(container, timeout=1)
    assert node.status(container).state == EXITED
    wait_for(lambda: not processes_with(mark), "what it started to end")
    assert call.exception(timeout=60) or call.result().exit_code


# ---- what is frozen ----

def freezer_of(pid):
    """The file that freezes the cgroup of a process, and the words for it."""
    with open(f"/proc/{pid}/cgroup") as file:
        for line in file:
            _, controllers, path = line.strip().split(":", 2)
            if "freezer" in controllers.split(","):
                return f"/sys/fs/cgroup/freezer{path}", "freezer.state", "FROZEN", "THAWED"
    return f"/sys/fs/cgroup{path}", "cgroup.freeze", "1", "0"


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


@pytest.mark.parametrize("pids", [POD, None])
def test_a_paused_container_is_stopped(node, pids):
    pod = node.pod(**({} if pids is None else {"linux": node.namespaces(pid=pids)}))
    container = ready(node, pod, STUBBORN)
    folder, name, frozen, _ = freezer_of(node.pid_of(container))
    write(f"{folder}/{name}", frozen)
    node.stop(container, timeout=1, deadline=60)
    assert node.status(container).exit_code == 137


@pytest.mark.node
def test_what_is_frozen_from_above_ends_when_it_thaws(own_node):
    """The pod's own cgroup is frozen, which is the kubelet's: nothing that we may do ends its processes."""
    node = own_node(config={"runtime": "stop_timeout = 1\n"})
    parent = node.daemon.make_cgroup(node.daemon.child_cgroup("frozen"))
    node.daemon.pod_cgroups = [parent]
    pod = node.pod(linux={"cgroup_parent": parent})
    container = ready(node, pod, STUBBORN)
    folder, name, frozen, thawed = freezer_of(node.pid_of(container))
    if name == "cgroup.freeze":
        pytest.skip("what is frozen by cgroup v2 can be killed")
    folder = os.path.dirname(folder)
    write(f"{folder}/{name}", frozen)
    try:
        message = error_of(lambda: node.stop(container, timeout=0, deadline=60), KINDS.DEADLINE_EXCEEDED)
        assert "SIGKILL" in message and "left" in message
        assert node.status(container).state == RUNNING
        error_of(lambda: node.client.RemovePodSandbox(pod_sandbox_id=pod[0], deadline=120), KINDS.DEADLINE_EXCEEDED)
        works(node)
    finally:
        write(f"{folder}/{name}", thawed)
    assert node.wait_exit(container).exit_code == 137
    node.remove_pod(pod[0])


# ---- what hangs in the kernel ----

def works(node):
    """Another pod lives its whole life."""
    pod = node.pod()
    assert node.pod_status(pod[0]).state == READY
    assert node.output(pod, "echo fine") == "fine\n"
    node.remove_pod(pod[0])


@pytest.fixture
def hung_disk():
    try:
        disk = HungDisk()
    except OSError as e:
        pytest.skip(f"no FUSE here: {e}")
    yield disk
    disk.close()


def test_a_process_that_waits_for_a_dead_disk(own_node, hung_disk):
    node = own_node(config={"runtime": "stop_timeout = 1\n"})
    pod = node.pod()
    mounts = [{"container_path": "/hung", "host_path": hung_disk.path}]
    stuck = node.sh(pod, "echo up; cat /hung/file; echo never", mounts=mounts, name="stuck")
    beside = [ready(node, pod, STUBBORN, name=f"beside{i}") for i in range(2)]
    wait_for(lambda: hung_disk.waiting, "the process to hang")

    message = error_of(lambda: node.stop(stuck, timeout=0, deadline=60), KINDS.DEADLINE_EXCEEDED)
    assert "1 s after SIGKILL" in message and "left" in message and "(cat) waits" in message, message
    assert node.status(stuck).state == RUNNING
    assert metric(node, "crisp_bound_reached_total", bound="runtime.stop_timeout") == 1

    # Its pod cannot be stopped, and says why; what is beside it ends, and other pods do not notice.
    call = node.client.start("StopPodSandbox", pod_sandbox_id=pod[0], deadline=120)
    works(node)
    assert call.exception(timeout=120).code() == KINDS.DEADLINE_EXCEEDED
    assert stuck in call.exception().details()
    assert [node.status(c).state for c in beside] == [EXITED, EXITED]
    error_of(lambda: node.client.RemovePodSandbox(pod_sandbox_id=pod[0], deadline=120), KINDS.DEADLINE_EXCEEDED)
    error_of(lambda: node.client.RemoveContainer(container_id=stuck, deadline=120), KINDS.DEADLINE_EXCEEDED)
    works(node)

    hung_disk.release()
    assert node.wait_exit(stuck).exit_code == 137
    node.remove_pod(pod[0])


def test_a_command_that_hangs_keeps_its_container_and_nothing_else(own_node, hung_disk):
    node = own_node(config={"runtime": "stop_timeout = 1\n"})
    pod = node.pod()
    container = node.sleeper(pod, mounts=[{"container_path": "/hung", "host_path": hung_disk.path}])
    node.wait_log(container, "up")
    call = node.client.start("ExecSync", container_id=container, cmd=["cat", "/hung/file"], timeout=int(2 * PATIENCE), deadline=120)
    wait_for(lambda: hung_disk.waiting, "the command to hang")
    assert call.exception(timeout=120).code() == KINDS.DEADLINE_EXCEEDED
    assert node.exec(container, "echo", "on").stdout == b"on\n"
    error_of(lambda: node.stop(container, timeout=1, deadline=60), KINDS.DEADLINE_EXCEEDED)
    works(node)
    hung_disk.release()
    node.wait_exit(container)
    node.remove_pod(pod[0])


def test_a_daemon_that_is_killed_while_a_container_hangs(own_node, hung_disk):
    node = own_node(config={"runtime": "stop_timeout = 1\n"})
    pod = node.pod()
    container = node.sh(pod, "echo up; cat /hung/file", mounts=[{"container_path": "/hung", "host_path": hung_disk.path}])
    wait_for(lambda: hung_disk.waiting, "the process to hang")
    call = node.client.start("StopPodSandbox", pod_sandbox_id=pod[0], deadline=120)
    time.sleep(0.3)
    node.daemon.kill()
    assert call.exception(timeout=60)
    node.daemon.start()
    error_of(lambda: node.client.StopPodSandbox(pod_sandbox_id=pod[0], deadline=120), KINDS.DEADLINE_EXCEEDED)
    hung_disk.release()
    assert node.wait_exit(container).exit_code == 137
    node.remove_pod(pod[0])


# ---- monitors ----

def test_a_monitor_that_is_killed_is_noticed_and_counted(own_node):
    node = own_node()
    container = node.sleeper(node.pod())
    process = node.pid_of(container)
    os.kill(monitor_of(node, container), signal.SIGKILL)
    status = node.wait_exit(container, 20)
    assert (status.exit_code, status.reason) == (255, "Unknown")
    assert "monitor" in status.message
    wait_for(lambda: not os.path.exists(f"/proc/{process}"), "the process without a monitor to be ended")
    assert metric(node, "crisp_monitors_lost_total") == 1
    node.daemon.kill()
    node.daemon.start()
    assert node.status(container).reason == "Unknown" and "monitor" in node.status(container).message


def test_a_monitor_that_hangs_does_not_keep_its_container(own_node):
    node = own_node(config={"runtime": "stop_timeout = 1\n"})
    container = ready(node, node.pod(), STUBBORN)
    monitor = monitor_of(node, container)
    os.kill(monitor, signal.SIGSTOP)
    node.stop(container, timeout=0, deadline=60)
    status = node.status(container)
    assert (status.state, status.exit_code, status.reason) == (EXITED, 255, "Unknown")
    wait_for(lambda: not os.path.exists(f"/proc/{monitor}"), "the monitor to be gone")
