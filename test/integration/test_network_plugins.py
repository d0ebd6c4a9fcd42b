"""CNI plugins: what they are told, and what happens where they fail, hang or talk rubbish."""
import os
import shutil
import signal
import subprocess

import pytest
from kit import leaks
from kit.events import Watcher
from kit.wait import wait_for
from recorder import Recorder
from support import FAILS, KINDS, NODE, NOTREADY, READY, Node, error_of
from test_network import tell_ranges
from test_shim import shim_pid

# ---- what the plugins are told ----

def test_add_and_del(recording):
    node, recorder = recording(plugin={"own": {"deep": [1, 2]}})
    pod, config = node.pod()
    assert node.pod_status(pod).network.ip == "198.51.100.7"
    [add] = recorder.calls("ADD")
    env = add["env"]
    assert env["CNI_CONTAINERID"] == pod
    assert env["CNI_IFNAME"] == "eth0"
    assert os.path.exists(env["CNI_NETNS"])
    assert recorder.bin in env["CNI_PATH"].split(":")
    args = dict(pair.split("=", 1) for pair in env["CNI_ARGS"].split(";"))
    meta = config["metadata"]
    assert args["IgnoreUnknown"] in ("1", "true")
    assert args["K8S_POD_NAMESPACE"] == meta["namespace"]
    assert args["K8S_POD_NAME"] == meta["name"]
    assert args["K8S_POD_UID"] == meta["uid"]
    assert args["K8S_POD_INFRA_CONTAINER_ID"] == pod
    assert add["config"]["name"] == f"net{node.daemon.tag}"
    assert add["config"]["cniVersion"] == "1.0.0"
    assert add["config"]["type"] == "recorder"
    assert add["config"]["own"] == {"deep": [1, 2]}
    assert "plugins" not in add["config"]
    node.remove_pod(pod)
    last = recorder.calls("DEL")[-1]
    assert last["env"]["CNI_CONTAINERID"] == pod
    assert last["config"]["prevResult"]["ips"][0]["address"] == "198.51.100.7/24"


def test_host_network_pods_ask_no_plugin(recording):
    node, recorder = recording()
    pod = node.run_pod(linux=node.namespaces(network=NODE), hostname="")
    node.remove_pod(pod)
    assert recorder.calls("ADD") == recorder.calls("DEL") == []


def test_capabilities(recording):
    node, recorder = recording(capabilities={"portMappings": True, "dns": True, "bandwidth": True})
    pod = node.run_pod(
        port_mappings=[
            {"protocol": "TCP", "container_port": 80, "host_port": 8080, "host_ip": "127.0.0.1"},
            {"protocol": "UDP", "container_port": 53, "host_port": 5353},
            {"protocol": "TCP", "container_port": 99, "host_port": 0},
        ],
        dns_config={"servers": ["192.0.2.53"], "searches": ["a.example"], "options": ["ndots:2"]},
        annotations={"kubernetes.io/ingress-bandwidth": "10M", "kubernetes.io/egress-bandwidth": "1k"},
    )
    [add] = recorder.calls("ADD")
    runtime = add["config"]["runtimeConfig"]
    ports = [{k.lower(): v for k, v in p.items()} for p in runtime["portMappings"]]
    assert len(ports) == 2
    assert (ports[0]["hostport"], ports[0]["containerport"], ports[0]["protocol"].lower(), ports[0]["hostip"]) == (8080, 80, "tcp", "127.0.0.1")
    assert (ports[1]["hostport"], ports[1]["protocol"].lower()) == (5353, "udp")
    assert runtime["dns"]["servers"] == ["192.0.2.53"]
    assert runtime["dns"]["searches"] == ["a.example"]
    assert runtime["bandwidth"]["ingressRate"] == 10_000_000
    assert runtime["bandwidth"]["egressRate"] == 1000
    # Who was told of the ports maps them, and nobody else.
    assert not [rule for rule in leaks.all_rules() if pod in rule]


def test_the_pods_cgroup_annotations_and_the_nodes_ranges_are_told(recording):
    node, recorder = recording(capabilities={"cgroupPath": True, "io.kubernetes.cri.pod-annotations": True, "ipRanges": True})
    tell_ranges(node.daemon, "10.9.9.0/24")
    node.run_pod(annotations={"example.com/note": "x"})
    told = recorder.calls("ADD")[0]["config"]["runtimeConfig"]
    assert told == {"cgroupPath": node.daemon.cgroup, "io.kubernetes.cri.pod-annotations": {"example.com/note": "x"},
                    "ipRanges": [[{"subnet": "10.9.9.0/24"}]]}


def test_capabilities_that_a_plugin_has_not_are_not_given(recording):
    node, recorder = recording()
    node.run_pod(dns_config={"servers": ["192.0.2.53"]})
    assert not recorder.calls("ADD")[0]["config"].get("runtimeConfig")


def test_a_chain_hands_results_on_and_is_undone_backwards(own_daemon, busybox):
    daemon = own_daemon(start=False, network=False)
    first, second = Recorder(daemon, "first", "198.51.100.1"), Recorder(daemon, "second", "198.51.100.2")
    daemon.write_network({"cniVersion": "1.0.0", "name": "chain", "plugins": [{"type": "first"}, {"type": "second"}]})
    node = Node(daemon.start(), busybox)
    pod = node.run_pod()
    assert node.pod_status(pod).network.ip == "198.51.100.2"
    assert "prevResult" not in first.calls("ADD")[0]["config"]
    assert second.calls("ADD")[0]["config"]["prevResult"]["ips"][0]["address"] == "198.51.100.1/24"
    order = f"{daemon.root}/order"
    for recorder, name in ((first, "first"), (second, "second")):
        recorder.behave("DEL", f"echo {name} >> {order}\n")
    node.remove_pod(pod)
    with open(order) as file:
        assert file.read().split()[:2] == ["second", "first"]


def test_when_the_second_plugin_of_a_chain_fails_the_first_is_undone(own_daemon, busybox):
    daemon = own_daemon(start=False, network=False)
    first, second = Recorder(daemon, "first"), Recorder(daemon, "second")
    daemon.write_network({"cniVersion": "1.0.0", "name": "chain", "plugins": [{"type": "first"}, {"type": "second"}]})
    node = Node(daemon.start(), busybox)
    second.behave("ADD", 'echo \'{"cniVersion":"1.0.0","code":11,"msg":"no room","details":"at all"}\'; exit 1\n')
    message = error_of(lambda: node.run_pod(), *FAILS)
    assert "no room" in message and "second" in message
    assert first.calls("DEL")
    assert not node.client.ListPodSandbox().items


def test_a_plain_conf_file(own_daemon, busybox):
    daemon = own_daemon(start=False, network=False)
    recorder = Recorder(daemon)
    daemon.write_network({"cniVersion": "0.4.0", "name": "single", "type": "recorder"}, "20-single.conf")
    node = Node(daemon.start(), busybox)
    node.run_pod()
    assert recorder.calls("ADD")[0]["config"]["name"] == "single"


def test_the_first_file_in_name_order_is_the_network(own_daemon, busybox):
    daemon = own_daemon(start=False, network=False)
    a, b = Recorder(daemon, "aaa"), Recorder(daemon, "bbb")
    daemon.write_network({"cniVersion": "1.0.0", "name": "b", "plugins": [{"type": "bbb"}]}, "10-b.conflist")
    daemon.write_network({"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "aaa"}]}, "05-a.conflist")
    daemon.write_network("rubbish", "00-broken.conflist.bak")
    node = Node(daemon.start(), busybox)
    pod = node.run_pod()
    assert a.calls("ADD") and not b.calls("ADD")
    # A pod is taken down by the network that made it, whatever the folder says by then.
    daemon.remove_network("05-a.conflist")
    wait_for(lambda: node.run_pod() and b.calls("ADD"), "a pod in the other network")
    node.remove_pod(pod)
    assert [c["env"]["CNI_CONTAINERID"] for c in a.calls("DEL")][-1] == pod


def test_a_deleted_configuration_does_not_keep_a_pod(recording):
    node, recorder = recording()
    pod = node.run_pod()
    node.daemon.remove_network()
    wait_for(lambda: not [c for c in node.client.Status().status.conditions if c.type == "NetworkReady"][0].status, "no network")
    node.remove_pod(pod)
    assert recorder.calls("DEL")


def test_without_a_network_no_pod_is_made_but_on_the_hosts(own_daemon, busybox):
    node = Node(own_daemon(network=False), busybox)
    message = error_of(lambda: node.run_pod(), *FAILS)
    assert node.daemon.cni in message
    node.run_pod(linux=node.namespaces(network=NODE), hostname="")


# ---- plugins that misbehave ----

@pytest.mark.parametrize("script, words", [
    ("echo '{\"cniVersion\":\"1.0.0\",\"code\":7,\"msg\":\"made up\"}'; exit 1", "made up"),
    ("echo 'no json at all'; exit 1", "recorder"),
    ("echo 'went wrong here' >&2; exit 3", "recorder"),
    ("echo 'no json at all'; exit 0", "recorder"),
    ("exit 0", "recorder"),
    ("kill -9 $$", "recorder"),
    ("head -c 100000000 /dev/zero; exit 0", "recorder"),
    ("head -c 1000000 /dev/zero | tr '\\0' '['; exit 0", "recorder"),
    ("echo '[]'; exit 0", "recorder"),
    ("echo '{\"cniVersion\":\"1.0.0\",\"ips\":[{\"address\":\"not an address\"}]}'; exit 0", "address"),
    ("echo '{\"cniVersion\":\"1.0.0\",\"ips\":7}'; exit 0", "IP address"),
    ("echo '{\"cniVersion\":\"99.0.0\",\"ips\":[]}'; exit 0", ""),
])
def test_a_plugin_that_fails_or_talks_rubbish(recording, script, words):
    node, recorder = recording()
    recorder.behave("ADD", script + "\n")
    config = node.pod_config()
    message = error_of(lambda: node.run_pod(config), *FAILS)
    assert words in message
    assert not node.client.ListPodSandbox().items
    assert recorder.calls("DEL"), "what a failed ADD may have made is undone"
    recorder.forget("ADD")
    # The same request again is not told of that failure: all is tried anew.
    pod = node.run_pod(config)
    failed, made = [add["env"]["CNI_CONTAINERID"] for add in recorder.calls("ADD")]
    assert made == pod != failed


def test_a_plugin_that_is_not_installed(own_daemon, busybox):
    daemon = own_daemon(network=False)
    node = Node(daemon, busybox)
    daemon.write_network({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "nosuchplugin"}]})
    def condition():
        return [c for c in daemon.client.Status().status.conditions if c.type == "NetworkReady"][0]
    wait_for(lambda: condition().status or "nosuchplugin" in condition().message, "the configuration to be read")
    assert "nosuchplugin" in error_of(lambda: node.run_pod(), *FAILS)


@pytest.mark.parametrize("plugin", ["../../../../bin/sh", "/bin/sh", "", "a/b"])
def test_a_plugin_type_that_is_a_path_is_refused(own_daemon, busybox, plugin):
    daemon = own_daemon(start=False, network=False)
    daemon.write_network({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": plugin}]})
    node = Node(daemon.start(), busybox)
    error_of(lambda: node.run_pod(), *FAILS)


def test_a_plugin_that_hangs_holds_up_only_its_pod_and_is_killed(recording):
    node, recorder = recording(config={"network": "timeout = 4\n"})
    recorder.behave("ADD", f"echo $$ > {recorder.folder}/pid; sleep 5555 & sleep 5555\n")
    config = node.pod_config()
    call = node.client.start("RunPodSandbox", config=config, deadline=300)
    wait_for(lambda: os.path.exists(f"{recorder.folder}/pid"), "the plugin to hang")
    recorder.forget("ADD")
    other = node.run_pod()
    assert node.pod_status(other).state == READY
    assert node.client.Status().status.conditions
    message = error_of(call.result, *set(KINDS) - {KINDS.OK})
    assert "recorder" in message
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                assert "5555" not in file.read().split("\0"), "the plugin's children are killed with it"
        except (FileNotFoundError, ProcessLookupError):
            pass
    assert [p.id for p in node.client.ListPodSandbox().items] == [other]


def test_a_pod_that_failed_and_cannot_be_undone_stays_visible_until_it_can(recording):
    node, recorder = recording()
    for command in ("ADD", "DEL"):
        recorder.behave(command, "echo '{\"cniVersion\":\"1.0.0\",\"code\":11,\"msg\":\"not now\"}'; exit 1\n")
    config = node.pod_config()
    assert "not now" in error_of(lambda: node.run_pod(config), *FAILS)
    for _ in range(2):
        [left] = node.client.ListPodSandbox().items
        assert left.state == NOTREADY
        node.daemon.ids.add(left.id)
        error_of(lambda: node.client.StopPodSandbox(pod_sandbox_id=left.id), *FAILS)
        node.daemon.restart()
    recorder.forget("ADD")
    pod = node.run_pod(config)
    assert pod != left.id and node.pod_status(pod).state == READY
    recorder.forget("DEL")
    node.remove_pod(left.id)
    assert [p.id for p in node.client.ListPodSandbox().items] == [pod]
    assert node.run_pod(config) == pod


def test_a_del_that_fails_is_tried_again(recording):
    node, recorder = recording()
    pod = node.run_pod()
    recorder.behave("DEL", "echo '{\"cniVersion\":\"1.0.0\",\"code\":11,\"msg\":\"not now\"}'; exit 1\n")
    message = error_of(lambda: node.client.StopPodSandbox(pod_sandbox_id=pod), *FAILS)
    assert "not now" in message
    recorder.forget("DEL")
    node.client.StopPodSandbox(pod_sandbox_id=pod)
    assert node.pod_status(pod).state == NOTREADY
    node.client.RemovePodSandbox(pod_sandbox_id=pod)


def unmount_network(node, pod):
    pins = [path for path, _ in leaks.mounts(node.daemon) if pod in path and path.rsplit("/", 1)[1].startswith("net")]
    assert pins
    for path in pins:
        subprocess.run(["umount", path], check=True)


def test_a_pod_whose_namespace_is_gone_is_not_ready_and_can_be_removed(node):
    pod = node.run_pod()
    unmount_network(node, pod)
    assert node.pod_status(pod).state == NOTREADY
    node.remove_pod(pod)


def test_lists_and_events_tell_of_a_namespace_that_is_gone(node):
    with Watcher(node.client) as watcher:
        pod, other = node.run_pod(), node.run_pod()
        unmount_network(node, pod)
        assert watcher.wait_for(pod, "stopped").pod_sandbox_status.state == NOTREADY
        states = {p.id: p.state for p in node.client.ListPodSandbox().items}
        assert states[pod] == NOTREADY and states[other] == READY
        node.remove_pod(pod)
        watcher.wait_for(pod, "deleted")
        assert watcher.of(pod) == ["created", "started", "stopped", "deleted"] and watcher.of(other) == ["created", "started"]


def test_a_pod_whose_namespace_is_gone_is_not_given_back(node):
    config = node.pod_config()
    pod = node.run_pod(config)
    unmount_network(node, pod)
    again = node.run_pod(config)
    assert again != pod
    assert node.pod_status(again).state == READY and node.pod_status(again).network.ip
    assert node.pod_status(pod).state == NOTREADY


# ---- what is left of pods that are gone ----

def test_at_the_start_what_pods_that_are_gone_left_is_freed(recording):
    node, recorder = recording(network={"cniVersion": "1.1.0"})
    daemon = node.daemon
    kept, lost = node.run_pod(), node.run_pod()
    daemon.kill()
    before = len(recorder.calls("GC"))
    shutil.rmtree(f"{daemon.state}/pods/{lost}")
    daemon.start()
    wait_for(lambda: [c for c in recorder.calls("DEL") if c["env"]["CNI_CONTAINERID"] == lost], "the lost pod's DEL")
    wait_for(lambda: len(recorder.calls("GC")) > before, "the plugin's own collection")
    valid = recorder.calls("GC")[-1]["config"]["cni.dev/valid-attachments"]
    assert [v["containerID"] for v in valid] == [kept]
    for path in (f"{daemon.run}/pods/{lost}/ns/{kind}" for kind in ("net", "ipc", "uts")):
        subprocess.run(["umount", path], check=True)
    subprocess.run(["umount", f"{daemon.run}/pods/{lost}/shm"], check=True)
    shutil.rmtree(f"{daemon.run}/pods/{lost}")
    if daemon.handler == "shim":  # of which nobody knows any more, too
        os.kill(shim_pid(node, lost), signal.SIGKILL)
        wait_for(lambda: shim_pid(node, lost) is None, "the lost pod's shim to end")
        for root in leaks.cgroup_roots():
            if os.path.isdir(path := f"{root}{daemon.cgroup}/monitors/{lost}-shim"):
                # Until the process is wholly gone it is busy.
                wait_for(lambda: subprocess.run(["rmdir", path], stderr=subprocess.DEVNULL).returncode == 0, f"{path} to be empty")  # noqa: B023
