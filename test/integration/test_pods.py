"""Pods: their namespaces, what is in them, how they are listed, stopped, removed and asked for twice."""
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit import leaks
from kit.wait import wait_for
from support import CONTAINER, KINDS, NODE, NOTREADY, POD, READY, cgroups_of, error_of, memory_cgroup_of, monitor_of

ID = re.compile(r"[0-9a-f]{64}")
LINKS = ("net", "ipc", "uts", "pid", "mnt", "user", "cgroup")


def links(pid):
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in LINKS}


def listed(node, **filter):
    return sorted(p.id for p in node.client.ListPodSandbox(filter=filter).items)


def test_a_pod_is_ready_and_has_an_address(node):
    pod, config = node.pod(labels={"app": "x"}, annotations={"note": "y", "empty": ""})
    assert ID.fullmatch(pod)
    status = node.pod_status(pod)
    assert status.id == pod
    assert status.state == READY
    assert status.metadata.name == config["metadata"]["name"]
    assert status.metadata.uid == config["metadata"]["uid"]
    assert status.metadata.namespace == "default"
    assert status.created_at > 1_700_000_000 * 10**9
    assert status.network.ip.startswith(node.daemon.subnet + ".")
    assert dict(status.labels) == {"app": "x"}
    assert dict(status.annotations) == {"note": "y", "empty": ""}
    assert status.linux.HasField("namespaces")


def test_the_status_echoes_the_namespace_options(node):
    for network, pid, ipc in [(POD, CONTAINER, POD), (POD, POD, POD), (POD, CONTAINER, NODE), (NODE, NODE, NODE)]:
        pod, _ = node.pod(linux=node.namespaces(network, pid, ipc), **({"hostname": ""} if network == NODE else {}))
        options = node.pod_status(pod).linux.namespaces.options
        assert (options.network, options.pid, options.ipc) == (network, pid, ipc)
        node.remove_pod(pod)


def test_a_handler_by_name(node):
    pod = node.run_pod(handler=node.daemon.handler)
    assert node.pod_status(pod).runtime_handler == node.daemon.handler


def test_without_a_handler_the_name_stays_empty(node):
    pod = node.run_pod()
    assert node.pod_status(pod).runtime_handler == ""


def test_verbose_status(node):
    pod, _ = node.pod()
    plain = node.client.PodSandboxStatus(pod_sandbox_id=pod)
    assert not plain.info
    verbose = node.client.PodSandboxStatus(pod_sandbox_id=pod, verbose=True)
    for text in verbose.info.values():
        json.loads(text)
    assert verbose.info
    for answer in (plain, verbose):
        assert answer.timestamp or not answer.containers_statuses


def test_the_namespaces_of_a_pod_are_shared_by_its_containers(node):
    pod = node.pod()
    a, b = node.sleeper(pod, name="a"), node.sleeper(pod, name="b")
    one, two, host = links(node.pid_of(a)), links(node.pid_of(b)), links("self")
    for name in ("net", "ipc", "uts"):
        assert one[name] == two[name] != host[name], name
    for name in ("pid", "mnt"):
        assert len({one[name], two[name], host[name]}) == 3, name


def test_the_namespaces_of_the_host(node):
    pod = node.pod(linux=node.namespaces(NODE, NODE, NODE), hostname="")
    status = node.pod_status(pod[0])
    assert status.network.ip == ""
    inside, host = links(node.pid_of(node.sleeper(pod))), links("self")
    for name in ("net", "ipc", "pid", "uts"):
        assert inside[name] == host[name], name
    assert inside["mnt"] != host["mnt"]


@pytest.mark.node
def test_a_shared_pid_namespace_is_held_by_a_process_of_our_own(node):
    pod = node.pod(linux=node.namespaces(pid=POD))
    a, b = node.sleeper(pod, name="a"), node.sleeper(pod, name="b")
    assert links(node.pid_of(a))["pid"] == links(node.pid_of(b))["pid"] != links("self")["pid"]
    assert node.exec_sh(a, "cat /proc/1/comm").strip() == "crisp-pause"
    assert "sleep 1000" in node.exec_sh(a, "ps -o args")
    # An orphan goes to the holder, which reaps it.
    node.exec_sh(a, "(sleep 0.2 &) ; sleep 1; ! ps -o stat,args | grep '^Z'")
    # It has a cgroup to itself, beside the monitors' and not in the pod's.
    holder = node.holder_of(pod[0])
    leaf = f"{node.daemon.cgroup}/monitors/{pod[0]}-pause"
    assert memory_cgroup_of(holder) == leaf
    made = [root + leaf for root in leaks.cgroup_roots() if os.path.isdir(root + leaf)]
    assert made
    for folder in made:
        with open(f"{folder}/cgroup.procs") as file:
            assert file.read().split() == [str(holder)]
    node.remove_pod(pod[0])
    assert not [folder for folder in made if os.path.exists(folder)]


def test_when_the_first_process_of_a_sharing_container_ends_the_others_end(node):
    pod = node.pod(linux=node.namespaces(pid=POD))
    container = node.sh(pod, "setsid sleep 4321 & sleep 0.5; exit 3")
    other = node.sleeper(pod, name="other")
    assert node.wait_exit(container).exit_code == 3
    assert "sleep 4321" not in node.exec_sh(other, "ps -o args | grep -v grep")


def test_a_pod_whose_pid_holder_died_is_not_ready(node):
    pod = node.pod(linux=node.namespaces(pid=POD))
    container = node.sleeper(pod)
    holder = int(node.exec_sh(container, "cat /proc/1/status | grep ^NSpid").split()[-1])
    assert holder == 1
    inner = os.readlink(f"/proc/{node.pid_of(container)}/ns/pid")
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/comm") as file:
                if file.read().strip() == "crisp-pause" and os.readlink(f"/proc/{name}/ns/pid") == inner:
                    os.kill(int(name), 9)
        except (FileNotFoundError, ProcessLookupError):
            pass
    wait_for(lambda: node.pod_status(pod[0]).state == NOTREADY, "the pod to be not ready")
    node.wait_exit(container)


def test_hostname(node):
    pod = node.pod(hostname="somewhere")
    assert node.output(pod, "hostname; cat /proc/sys/kernel/hostname /etc/hostname").split() == ["somewhere"] * 3


def test_the_folder_of_the_logs_is_made_with_the_pod(node):
    _, config = node.pod()
    assert os.path.isdir(config["log_directory"])


def test_an_empty_hostname_of_a_host_network_pod_is_the_hosts(node):
    pod = node.pod(linux=node.namespaces(network=NODE), hostname="")
    assert node.output(pod, "hostname; cat /etc/hostname").split() == [os.uname().nodename] * 2


def test_resolv_conf_from_dns_config(node):
    dns = {"servers": ["192.0.2.53", "2001:db8::53"], "searches": ["a.example", "b.example"], "options": ["ndots:5", "timeout:1"]}
    pod = node.pod(dns_config=dns)
    lines = node.output(pod, "cat /etc/resolv.conf").splitlines()
    assert lines == [
        "search a.example b.example", "nameserver 192.0.2.53", "nameserver 2001:db8::53", "options ndots:5 timeout:1",
    ]


def test_resolv_conf_is_the_hosts_without_dns_config(node):
    pod = node.pod()
    with open("/etc/resolv.conf") as file:
        assert node.output(pod, "cat /etc/resolv.conf") == file.read()


def test_resolv_conf_given_by_the_kubelet_wins(node):
    own = f"{node.daemon.root}/logs/resolv.conf"
    with open(own, "w") as file:
        file.write("nameserver 192.0.2.99\n")
    pod = node.pod(dns_config={"servers": ["192.0.2.53"]})
    mounts = [{"container_path": "/etc/resolv.conf", "host_path": own}]
    assert node.output(pod, "cat /etc/resolv.conf", mounts=mounts) == "nameserver 192.0.2.99\n"


def test_sysctls(node):
    pod = node.pod(linux={"sysctls": {"net.ipv4.ip_unprivileged_port_start": "81", "kernel.msgmax": "8191"}})
    out = node.output(pod, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax")
    assert out.split() == ["81", "8191"]


@pytest.mark.parametrize("name", ["vm.swappiness", "kernel.panic", "kernel/../vm/swappiness", "net.ipv4/../../vm/swappiness", "", "a"])
def test_a_sysctl_that_is_not_the_pods_is_refused(node, name):
    with open("/proc/sys/vm/swappiness") as file:
        before = file.read()
    config = node.pod_config(linux={"sysctls": {name: "1"}})
    error_of(lambda: node.run_pod(config), KINDS.INVALID_ARGUMENT)
    with open("/proc/sys/vm/swappiness") as file:
        assert file.read() == before
    assert not listed(node)


def test_a_network_sysctl_of_a_host_network_pod_is_refused(node):
    linux = {**node.namespaces(network=NODE), "sysctls": {"net.ipv4.ip_unprivileged_port_start": "81"}}
    error_of(lambda: node.run_pod(hostname="", linux=linux), KINDS.INVALID_ARGUMENT)


def test_a_sysctl_with_a_wrong_value_fails_and_leaves_nothing(node):
    error_of(lambda: node.run_pod(linux={"sysctls": {"kernel.msgmax": "many"}}), KINDS.INVALID_ARGUMENT, KINDS.INTERNAL)
    assert not listed(node)


@pytest.mark.node
def test_cgroup_parent(node):
    parent = node.daemon.make_cgroup(node.daemon.child_cgroup("poda"))
    node.daemon.pod_cgroups = [parent]
    try:
        pod = node.pod(linux={"cgroup_parent": parent})
        container = node.sleeper(pod)
        groups = cgroups_of(node.pid_of(container))
        inside = [path for path in groups.values() if path.startswith(parent + "/")]
        assert len(inside) >= len(groups) - 2, groups
        # Its limits are not the monitor's.
        monitor = monitor_of(container)
        assert not [path for path in cgroups_of(monitor).values() if f"{path}/".startswith(f"{parent}/")]
        assert memory_cgroup_of(monitor) == f"{node.daemon.cgroup}/monitors"
        node.remove_pod(pod[0])
        for root in leaks.cgroup_roots():
            assert os.path.isdir(root + parent), "the pod's cgroup is the kubelet's"
            assert [name for name in os.listdir(root + parent) if os.path.isdir(f"{root}{parent}/{name}")] == []
        node.daemon.remove_cgroup(parent)
    finally:
        node.daemon.pod_cgroups = []


def test_dev_shm_is_the_pods(node):
    pod = node.pod()
    a = node.sleeper(pod, name="a")
    b = node.sleeper(pod, name="b")
    node.exec_sh(a, "echo shared > /dev/shm/x")
    assert node.exec_sh(b, "cat /dev/shm/x").strip() == "shared"
    assert re.search(r"\b65536\b", node.exec_sh(a, "df -k /dev/shm"))
    assert node.exec_sh(a, "stat -c %a /dev/shm").strip() == "1777"


def test_the_size_of_dev_shm_by_annotation_where_it_is_allowed(own_node):
    node = own_node(config={"runtime": 'allowed_annotations = ["shm-size.crio.io"]\n'})
    for key in ("shm-size.crio.io", "io.kubernetes.cri-o.ShmSize"):
        assert node.output(node.pod(annotations={key: "128Mi"}), "df -k /dev/shm").split()[-5] == "131072"
    for wrong in ("0", "lots", "-1", "", "1E99"):
        message = error_of(lambda: node.run_pod(annotations={"shm-size.crio.io": wrong}), KINDS.INVALID_ARGUMENT)
        assert "shm-size.crio.io" in message
    assert len(listed(node)) == 2


def test_the_size_of_dev_shm_stays_where_the_annotation_is_not_allowed(node):
    assert node.output(node.pod(annotations={"shm-size.crio.io": "128Mi"}), "df -k /dev/shm").split()[-5] == "65536"


def test_dev_shm_of_the_host(node):
    pod = node.pod(linux=node.namespaces(ipc=NODE))
    name = f"crisp-{node.daemon.tag}"
    container = node.sleeper(pod)
    try:
        node.exec_sh(container, f"echo hi > /dev/shm/{name}")
        assert os.path.exists(f"/dev/shm/{name}")
    finally:
        if os.path.exists(f"/dev/shm/{name}"):
            os.unlink(f"/dev/shm/{name}")


def test_loopback_is_up(node):
    out = node.output(node.pod(), "ip addr show lo")
    assert "UP" in out and "127.0.0.1/8" in out and "::1/128" in out


def test_containers_of_a_pod_meet_on_loopback_and_pods_by_address(node):
    pod = node.pod()
    server = node.sh(pod, "mkdir /w; echo page > /w/index.html; exec httpd -f -p 8080 -h /w", name="server")
    client = node.sleeper(pod, name="client")
    fetch = "for i in 1 2 3 4 5 6 7 8 9 10; do wget -q -O - http://{}:8080/ && exit 0; sleep 0.5; done; exit 1"
    assert node.exec_sh(client, fetch.format("127.0.0.1")) == "page\n"
    other = node.sleeper(node.pod())
    address = node.pod_status(pod[0]).network.ip
    assert node.exec_sh(other, fetch.format(address)) == "page\n"
    node.stop(server)


# ---- lists ----

def test_list_filters(node):
    a, _ = node.pod(labels={"app": "web", "tier": "1"})
    b, _ = node.pod(labels={"app": "web", "tier": "2"})
    c, _ = node.pod(labels={"app": "db"})
    node.client.StopPodSandbox(pod_sandbox_id=b)
    assert listed(node) == sorted([a, b, c])
    assert listed(node, id=a) == [a]
    assert listed(node, id=a[:12]) == [a]
    assert listed(node, id="0" * 64) == []
    assert listed(node, state={"state": READY}) == sorted([a, c])
    assert listed(node, state={"state": NOTREADY}) == [b]
    assert listed(node, label_selector={"app": "web"}) == sorted([a, b])
    assert listed(node, label_selector={"app": "web", "tier": "2"}) == [b]
    assert listed(node, label_selector={"app": "web", "tier": "3"}) == []
    assert listed(node, label_selector={"nosuch": ""}) == []
    assert listed(node, state={"state": READY}, label_selector={"app": "web"}) == [a]
    assert listed(node, id=c, label_selector={"app": "web"}) == []


def test_a_list_says_what_the_status_says(node):
    pod = node.run_pod(handler=node.daemon.handler, labels={"a": "b"}, annotations={"c": "d"})
    for state in (READY, NOTREADY):
        [item] = node.client.ListPodSandbox(filter={"id": pod}).items
        status = node.pod_status(pod)
        assert (item.state, item.runtime_handler) == (state, node.daemon.handler)
        for field in ("id", "metadata", "state", "created_at", "labels", "annotations", "runtime_handler"):
            assert getattr(item, field) == getattr(status, field), field
        node.client.StopPodSandbox(pod_sandbox_id=pod)


def test_ids_may_be_short(node):
    pod, _ = node.pod()
    assert node.pod_status(pod[:10]).id == pod
    node.client.StopPodSandbox(pod_sandbox_id=pod[:10])
    assert node.pod_status(pod).state == NOTREADY
    node.client.RemovePodSandbox(pod_sandbox_id=pod[:10])
    assert not listed(node)


def test_an_ambiguous_prefix_is_not_guessed(node):
    pods = [node.run_pod() for _ in range(17)]
    firsts = [pod[0] for pod in pods]
    twice = next(first for first in firsts if firsts.count(first) > 1)
    error_of(lambda: node.pod_status(twice), KINDS.NOT_FOUND, KINDS.INVALID_ARGUMENT)
    assert len(listed(node)) == 17


# ---- the end of a pod ----

def test_stop_and_remove_are_idempotent(node):
    pod, _ = node.pod()
    for _ in range(3):
        node.client.StopPodSandbox(pod_sandbox_id=pod)
        status = node.pod_status(pod)
        assert status.state == NOTREADY
    for _ in range(3):
        node.client.RemovePodSandbox(pod_sandbox_id=pod)
        node.client.StopPodSandbox(pod_sandbox_id=pod)
    error_of(lambda: node.pod_status(pod), KINDS.NOT_FOUND)


def test_stop_ends_the_containers_and_they_stay_readable(node):
    pod = node.pod()
    container = node.sleeper(pod)
    node.wait_log(container, "up")
    node.client.StopPodSandbox(pod_sandbox_id=pod[0])
    assert node.status(container).state == 2
    assert node.text(pod, container) == "up\n"


def test_remove_of_a_ready_pod_takes_everything(node):
    pod = node.pod(linux=node.namespaces(pid=POD))
    container = node.sleeper(pod)
    node.client.RemovePodSandbox(pod_sandbox_id=pod[0])
    error_of(lambda: node.pod_status(pod[0]), KINDS.NOT_FOUND)
    error_of(lambda: node.status(container), KINDS.NOT_FOUND)
    assert os.path.exists(f"{pod[1]['log_directory']}/main/0.log"), "logs are the kubelet's"


def test_no_container_in_a_stopped_pod(node):
    pod = node.pod()
    node.client.StopPodSandbox(pod_sandbox_id=pod[0])
    error_of(lambda: node.create(pod, ["true"]), KINDS.FAILED_PRECONDITION, KINDS.NOT_FOUND, KINDS.UNKNOWN)


def test_concurrent_stops_and_removes(node):
    pod = node.pod()
    node.sleeper(pod)
    with ThreadPoolExecutor(16) as pool:
        stops = [pool.submit(node.client.StopPodSandbox, pod_sandbox_id=pod[0]) for _ in range(8)]
        removes = [pool.submit(node.client.RemovePodSandbox, pod_sandbox_id=pod[0]) for _ in range(8)]
        for call in stops + removes:
            call.result()
    assert not listed(node)


# ---- the same pod again ----

def test_the_same_request_gives_the_same_pod(node):
    config = node.pod_config()
    assert node.run_pod(config) == node.run_pod(config)
    assert len(listed(node)) == 1


def test_the_same_request_many_times_at_once_makes_one_pod(node):
    config = node.pod_config()
    calls = [node.client.start("RunPodSandbox", config=config) for _ in range(12)]
    ids = {call.result().pod_sandbox_id for call in calls}
    assert len(ids) == 1
    node.daemon.ids |= ids
    assert listed(node) == sorted(ids)


def test_the_same_name_with_another_configuration_is_not_joined(node):
    config = node.pod_config()
    pod = node.run_pod(config)
    error_of(lambda: node.run_pod({**config, "labels": {"other": "yes"}}), KINDS.ALREADY_EXISTS, KINDS.FAILED_PRECONDITION)
    assert listed(node) == [pod]


def test_while_a_pod_is_being_made_its_name_with_another_configuration_is_refused(recording):
    node, recorder = recording()
    node.daemon.write_config(extra={"runtime.handlers.other": node.daemon.handler_config()})
    node.daemon.restart()
    recorder.hold("ADD")
    config = node.pod_config()
    call = node.client.start("RunPodSandbox", config=config)
    recorder.wait_held()
    # They do not wait for the first, which does not end before that is said.
    for more in ({"config": {**config, "labels": {"other": "yes"}}}, {"config": config, "handler": "other"}):
        message = error_of(lambda: node.run_pod(**more), KINDS.ALREADY_EXISTS)  # noqa: B023
        assert "another configuration" in message
    assert not call.done()
    recorder.release()
    pod = call.result().pod_sandbox_id
    assert listed(node) == [pod]
    assert [add["env"]["CNI_CONTAINERID"] for add in recorder.calls("ADD")] == [pod]
    assert node.pod_status(pod).runtime_handler == "" and not node.pod_status(pod).labels


def test_each_part_of_its_name_makes_another_pod(node):
    config = node.pod_config("same")
    first = {"name": "same", "uid": "uid-same", "namespace": "default", "attempt": 0}
    ids = {}
    for change in ({}, {"name": "other"}, {"uid": "other"}, {"namespace": "other"}, {"attempt": 1}):
        metadata = {**first, **change}
        ids[node.run_pod({**config, "metadata": metadata})] = metadata
    assert len(ids) == 5
    for pod, metadata in ids.items():
        told = node.pod_status(pod).metadata
        assert {part: getattr(told, part) for part in metadata} == metadata


def test_a_pod_that_is_not_ready_is_not_given_back(node):
    config = node.pod_config()
    pod = node.run_pod(config)
    node.client.StopPodSandbox(pod_sandbox_id=pod)
    # After a restart the kubelet may ask for attempt 0 again while the old one is still there.
    again = node.run_pod(config)
    assert again != pod
    assert node.pod_status(again).state == READY


def test_a_removed_name_is_free(node):
    config = node.pod_config()
    pod = node.run_pod(config)
    node.remove_pod(pod)
    assert node.run_pod(config) != pod


def test_a_client_that_goes_away_finds_its_pod_when_it_asks_again(node):
    config = node.pod_config()
    call = node.client.start("RunPodSandbox", config=config)
    call.cancel()
    pod = node.run_pod(config)
    assert listed(node) == [pod]
    assert node.pod_status(pod).state == READY


def test_names_with_strange_letters(node):
    pod, _ = node.pod(name="näme-☃", labels={"ключ": "значение"}, annotations={"x": "line\nbreak\ttab \"quote\" \\ \x01"})
    status = node.pod_status(pod)
    assert status.metadata.name == "näme-☃"
    assert status.labels["ключ"] == "значение"
    assert status.annotations["x"] == "line\nbreak\ttab \"quote\" \\ \x01"


def test_big_annotations_come_back_whole(node):
    big = {f"key{i}": "v" * 1000 for i in range(250)}
    pod, _ = node.pod(annotations=big)
    assert dict(node.pod_status(pod).annotations) == big
