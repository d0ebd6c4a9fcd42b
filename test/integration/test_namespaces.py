"""Whose namespaces containers are in, where they are pinned, and the kernel settings in them."""
import os
import subprocess

import pytest
from kit import leaks
from kit.wait import wait_for
from support import CONTAINER, EXITED, KINDS, NODE, POD, TARGET, error_of

pytestmark = pytest.mark.handler


def link(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def options(**more):
    return {"security_context": {"namespace_options": {"network": POD, "pid": CONTAINER, "ipc": POD, **more}}}


def target(container):
    return options(pid=TARGET, target_id=container)


def cgroup_files(node, container):
    """The container's cgroup.procs in each hierarchy that has it."""
    for root in leaks.cgroup_roots():
        path = f"{root}{node.daemon.container_cgroup(container)}/cgroup.procs"
        if os.path.exists(path):
            yield path


def test_a_container_that_says_no_options_has_the_pods(node):
    pod = node.pod(linux=node.namespaces(pid=POD))
    other = link(node.pid_of(node.sleeper(pod, name="other")), "pid")
    for name, linux in (("none", None), ("nothing", {"security_context": {"readonly_rootfs": True}})):
        config = node.container_config(["sleep", "1000"], name=name, log_path="")
        container = node.client.CreateContainer(
            pod_sandbox_id=pod[0], config={**config, "linux": linux}, sandbox_config=pod[1]).container_id
        node.start(container)
        assert link(node.pid_of(container), "pid") == other, name


# ---- TARGET ----

@pytest.mark.node
def test_a_container_joins_the_pids_of_its_target(node):
    pod = node.pod()
    main = node.sh(pod, "sleep 4242 & wait", name="main")
    node.pid_of(main)
    debug = node.sleeper(pod, name="debug", linux=target(main))
    assert link(node.pid_of(debug), "pid") == link(node.pid_of(main), "pid") != link("self", "pid")
    assert link(node.pid_of(debug), "mnt") != link(node.pid_of(main), "mnt")
    assert "sleep 4242" in node.exec_sh(debug, "ps -o args")
    # A prefix of the id does, too.
    other = node.sleeper(pod, name="other", linux=target(main[:16]))
    assert link(node.pid_of(other), "pid") == link(node.pid_of(main), "pid")
    node.stop(main)
    # With the first process of a PID namespace everything in it ends.
    for each in (debug, other):
        assert node.wait_exit(each).state == EXITED


def test_what_a_debugging_container_left_behind_ends_with_it_and_the_target_runs_on(node):
    pod = node.pod()
    main = node.sleeper(pod, name="main")
    debug = node.sh(pod, "setsid sleep 4321 & sleep 0.5; exit 3", name="debug", linux=target(main))
    assert node.wait_exit(debug).exit_code == 3
    wait_for(lambda: "sleep 4321" not in node.exec_sh(main, "ps -o args"), "the orphan to be ended")
    assert node.exec_sh(main, "echo alive") == "alive\n"


def test_targets_that_cannot_be_joined_are_refused_in_words(node):
    pod, other = node.pod(), node.pod()
    there = node.sleeper(other, name="there")
    created = node.create(pod, ["/bin/true"], name="created")
    ended = node.sh(pod, "exit 0", name="ended")
    node.wait_exit(ended)

    def refused(container, *codes):
        message = error_of(lambda: node.sleeper(pod, name="debug", linux=target(container)), *codes)
        assert "target_id" in message
        return message

    assert "0123456789" in refused("0123456789" * 6, KINDS.NOT_FOUND)
    assert other[0] in refused(there, KINDS.INVALID_ARGUMENT)
    assert "does not run" in refused(created, KINDS.FAILED_PRECONDITION)
    assert "does not run" in refused(ended, KINDS.FAILED_PRECONDITION)
    refused("", KINDS.INVALID_ARGUMENT)
    assert len(node.client.ListContainers(filter={"pod_sandbox_id": pod[0]}).containers) == 2


def test_a_target_that_ended_before_the_start_is_told(node):
    pod = node.pod()
    main = node.sleeper(pod, name="main")
    debug = node.create(pod, ["/bin/sh"], name="debug", linux=target(main))
    node.stop(main)
    assert "target_id" in error_of(lambda: node.start(debug), KINDS.FAILED_PRECONDITION)
    node.client.RemoveContainer(container_id=debug)


def test_a_pod_has_no_target(node):
    linux = options(pid=TARGET, target_id="abc")
    assert "namespace_options.pid" in error_of(lambda: node.run_pod(linux=linux), KINDS.INVALID_ARGUMENT)


def test_a_target_after_a_restart(node):
    pod = node.pod()
    main = node.sleeper(pod, name="main")
    created = node.create(pod, ["/bin/sleep", "1000"], name="created", linux=target(main))
    node.daemon.restart()
    node.start(created)
    assert link(node.pid_of(created), "pid") == link(node.pid_of(main), "pid")


# ---- the container's options beside the pod's ----

def test_a_container_of_its_own_pids_in_a_pod_that_shares_them(node):
    pod = node.pod(linux=node.namespaces(pid=POD))
    shared = node.sleeper(pod, name="shared")
    alone = node.sleeper(pod, name="alone", linux=options(pid=CONTAINER))
    host = node.sleeper(pod, name="host", linux=options(pid=NODE))
    assert len({link(node.pid_of(c), "pid") for c in (shared, alone, host)}) == 3
    assert link(node.pid_of(host), "pid") == link("self", "pid")


def test_a_container_on_the_hosts_network_in_a_pod_with_one_of_its_own(node):
    pod = node.pod()
    container = node.sleeper(pod, linux=options(network=NODE))
    assert link(node.pid_of(container), "net") == link("self", "net")
    assert link(node.pid_of(container), "ipc") != link("self", "ipc")


def test_options_that_contradict_the_pods_are_refused(node):
    pod = node.pod()
    assert "pid" in error_of(lambda: node.sleeper(pod, linux=options(pid=POD)), KINDS.INVALID_ARGUMENT)
    assert "ipc" in error_of(lambda: node.sleeper(pod, linux=options(ipc=NODE)), KINDS.INVALID_ARGUMENT)


def test_with_the_hosts_pids_the_cgroup_ends_with_the_first_process(node):
    pod = node.pod(linux=node.namespaces(pid=NODE))
    container = node.sh(pod, "setsid sleep 4323 & sleep 0.5; exit 3")
    files = list(cgroup_files(node, container))
    assert files
    assert node.wait_exit(container).exit_code == 3
    wait_for(lambda: not any(os.path.exists(f) and open(f).read() for f in files), "its cgroup to be empty")


# ---- where they are pinned ----

def test_the_place_of_namespaces_can_be_chosen_and_stays_the_pods(own_node):
    node = own_node(config={"runtime": ""})
    daemon = node.daemon
    before = node.pod()
    daemon.write_config({"runtime": f'namespaces_dir = "{daemon.run}/elsewhere"\n'})
    daemon.restart()
    pod = node.pod(linux=node.namespaces(pid=POD))
    folder = f"{daemon.run}/elsewhere/{pod[0]}"
    assert sorted(os.listdir(folder)) == ["ipc", "net", "pid", "uts"]
    container = node.sleeper(pod)
    inode = os.stat(f"{folder}/net").st_ino
    assert link(node.pid_of(container), "net") == f"net:[{inode}]"
    # Those that were made before are where they were, and the other way round.
    assert node.exec_sh(node.sleeper(before), "echo ok") == "ok\n"
    daemon.write_config({"runtime": ""})
    daemon.restart()
    assert os.stat(f"{folder}/net").st_ino == inode
    assert node.exec_sh(node.sleeper(pod, name="second"), "echo ok") == "ok\n"
    node.remove_pod(pod[0])
    assert not os.path.exists(folder)
    node.remove_pod(before[0])


# ---- kernel settings ----

SETTINGS = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range /proc/sys/kernel/msgmax"


def program(path):
    return [{"container_path": "/syscalls", "host_path": path, "readonly": True}]


def test_everybody_may_bind_low_ports_and_ping(node, syscalls):
    out = node.output(node.pod(), SETTINGS).split()
    assert out[:3] == ["0", "0", "2147483647"]
    context = {"linux": {"security_context": {"run_as_user": {"value": 1000}}}}
    assert node.output(node.pod(), "/syscalls ping", mounts=program(syscalls), **context) == "ping ok\n"
    pod = node.pod()
    server = node.sh(pod, "nc -l -p 80 -e echo hi", **context)
    container = node.sleeper(pod, name="client", **context)
    wait_for(lambda: node.exec(container, "nc", "-w", "1", "127.0.0.1", "80").stdout == b"hi\n" or
             node.status(server).state == EXITED, "an answer on port 80")
    assert node.wait_exit(server).exit_code == 0


def test_default_sysctls_yield_to_the_pods_and_to_the_hosts_namespaces(own_node, syscalls):
    node = own_node(config={"runtime": 'default_sysctls = ["net.ipv4.ip_unprivileged_port_start=82", "kernel.msgmax=8190"]\n'
                                       'enable_unprivileged_icmp = false\n'})
    out = node.output(node.pod(), SETTINGS).split()
    assert out == ["82", "1", "0", "8190"]
    linux = {"security_context": {"run_as_user": {"value": 1000}}}
    assert node.output(node.pod(), "/syscalls ping", linux=linux, mounts=program(syscalls)) == "ping EACCES\n"
    linux = {"sysctls": {"net/ipv4/ip_unprivileged_port_start": "83"}}
    assert node.output(node.pod(linux=linux), SETTINGS).split() == ["83", "1", "0", "8190"]
    with open("/proc/sys/kernel/msgmax") as file:
        host = file.read().strip()
    out = node.output(node.pod(linux=node.namespaces(ipc=NODE)), SETTINGS).split()
    assert out == ["82", "1", "0", host]
    pod = node.pod(linux=node.namespaces(network=NODE), hostname="")
    assert node.output(pod, SETTINGS).split()[-1] == "8190"


@pytest.mark.parametrize("line, words", [
    ('default_sysctls = ["vm.swappiness=1"]', "whole machine"),
    ('default_sysctls = ["net.ipv4.ip_forward"]', "name=value"),
])
def test_a_default_that_is_no_pods_stops_the_start(own_daemon, line, words):
    daemon = own_daemon(config={"runtime": line + "\n"}, start=False)
    daemon.start(wait=False)
    wait_for(lambda: not daemon.alive(), "the start to be refused")
    assert words in daemon.log_text()
    daemon.write_config({})
    daemon.start()


# ---- what names a pod ----

@pytest.mark.parametrize("missing", ["name", "uid", "namespace"])
def test_a_pod_without_a_part_of_its_name_is_refused(node, missing):
    config = node.pod_config()
    config["metadata"][missing] = ""
    assert f"config.metadata.{missing}" in error_of(lambda: node.run_pod(config), KINDS.INVALID_ARGUMENT)
    del config["metadata"]
    assert "config.metadata" in error_of(lambda: node.run_pod(config), KINDS.INVALID_ARGUMENT)


# ---- the daemon's own ----

def test_the_daemon_joins_the_mount_namespace_that_it_is_told(own_daemon):
    daemon = own_daemon(start=False)
    # Not pinned as a file: Linux refuses some such mounts by the namespaces' numbers, which processors hand out apart.
    holder = subprocess.Popen(["unshare", "--mount", "--propagation", "unchanged", "sleep", "infinity"])
    try:
        wait_for(lambda: link(holder.pid, "mnt") != link("self", "mnt"), "a mount namespace")
        daemon.start(env={"KUBENSMNT": f"/proc/{holder.pid}/ns/mnt"})
        assert link(daemon.pid, "mnt") == link(holder.pid, "mnt")
        assert "mount namespace of its own" not in daemon.log_text()
        daemon.terminate()
    finally:
        holder.kill()
        holder.wait()
    other = f"{daemon.root}/mnt"
    open(other, "w").close()
    daemon.start(wait=False, env={"KUBENSMNT": other})
    wait_for(lambda: not daemon.alive(), "the start to be refused")
    assert "KUBENSMNT" in daemon.log_text()
    daemon.start()
