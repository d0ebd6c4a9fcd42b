"""Networks: what the CNI plugins are told, and what happens where they fail, hang or talk rubbish."""
import ipaddress
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit import leaks
from kit.registry import free_port
from kit.wait import wait_for
from support import FAILS, KINDS, NODE, NOTREADY, READY, Node, error_of
from test_shim import shim_pid

# Writes down what it is asked, and answers with an address, or does as the file `behave` says.
PLUGIN = """#!/bin/sh
here={folder}
exec 9>$here/lock; flock 9
n=$(cat $here/count 2>/dev/null || echo 0); n=$((n + 1)); echo $n > $here/count
cat > $here/$n.stdin
env | grep ^CNI_ > $here/$n.new && mv $here/$n.new $here/$n.env
exec 9>&-
case "$CNI_COMMAND" in
VERSION) echo '{{"cniVersion":"1.1.0","supportedVersions":["0.4.0","1.0.0","1.1.0"]}}'; exit 0;;
esac
[ -f $here/behave-$CNI_COMMAND ] && . $here/behave-$CNI_COMMAND
case "$CNI_COMMAND" in
ADD) echo '{{"cniVersion":"1.0.0","interfaces":[{{"name":"eth0","sandbox":"'$CNI_NETNS'"}}],"ips":[{{"address":"{address}/24","interface":0}}]}}';;
esac
exit 0
"""


class Recorder:
    """A plugin of our own in a folder that the daemon searches first."""

    def __init__(self, daemon, name="recorder", address="198.51.100.7"):
        self.folder = f"{daemon.root}/recorded-{name}"
        self.bin = f"{daemon.root}/plugins"
        os.makedirs(self.folder, exist_ok=True)
        os.makedirs(self.bin, exist_ok=True)
        path = f"{self.bin}/{name}"
        with open(path, "w") as file:
            file.write(PLUGIN.format(folder=self.folder, address=address))
        os.chmod(path, stat.S_IRWXU)
        if self.bin not in daemon.plugin_dirs:
            daemon.plugin_dirs.insert(0, self.bin)
        daemon.write_config()

    def behave(self, command, script):
        with open(f"{self.folder}/behave-{command}", "w") as file:
            file.write(script)

    def forget(self, command):
        os.unlink(f"{self.folder}/behave-{command}")

    def calls(self, command=None):
        """What it was asked so far, each {"env": {...}, "config": {...}}."""
        made = []
        for name in sorted((n for n in os.listdir(self.folder) if n.endswith(".env")), key=lambda n: int(n.split(".")[0])):
            with open(f"{self.folder}/{name}") as file:
                env = dict(line.rstrip("\n").split("=", 1) for line in file)
            with open(f"{self.folder}/{name[:-4]}.stdin") as file:
                text = file.read()
            if not command or env["CNI_COMMAND"] == command:
                made.append({"env": env, "config": json.loads(text) if text.strip() else None})
        return made


@pytest.fixture
def recording(own_daemon, busybox):
    def make(network=None, capabilities=None, plugin=None, config=None):
        daemon = own_daemon(start=False, network=False, config=config or {})
        recorder = Recorder(daemon)
        daemon.write_network({
            "cniVersion": "1.0.0", "name": "recorded", **(network or {}),
            "plugins": [{"type": "recorder", "capabilities": capabilities or {}, **(plugin or {})}],
        })
        daemon.start()
        return Node(daemon, busybox), recorder
    return make


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
    assert add["config"]["name"] == "recorded"
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
    node.run_pod(
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
    message = error_of(lambda: node.run_pod(), *FAILS)
    assert words in message
    assert not node.client.ListPodSandbox().items
    assert recorder.calls("DEL"), "what a failed ADD may have made is undone"
    recorder.forget("ADD")
    node.run_pod()


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


def test_a_pod_whose_namespace_is_gone_is_not_ready_and_can_be_removed(node):
    pod = node.run_pod()
    pins = [path for path, _ in leaks.mounts(node.daemon) if pod in path and path.rsplit("/", 1)[1].startswith("net")]
    assert pins
    for path in pins:
        subprocess.run(["umount", path], check=True)
    wait_for(lambda: node.pod_status(pod).state == NOTREADY, "the pod to be not ready")
    node.remove_pod(pod)


# ---- real plugins ----

def test_bridge_gives_each_pod_an_address_and_takes_it_back(node):
    pods = [node.run_pod() for _ in range(5)]
    addresses = {node.pod_status(pod).network.ip for pod in pods}
    assert len(addresses) == 5
    for pod in pods:
        node.client.StopPodSandbox(pod_sandbox_id=pod)
    folder = f"{node.daemon.root}/ipam/net{node.daemon.tag}"
    assert not [name for name in os.listdir(folder) if re.match(r"\d+\.", name)]
    assert not leaks.interfaces(node.daemon)


def test_a_stopped_pod_has_no_address_to_offer(node):
    pod = node.run_pod()
    node.client.StopPodSandbox(pod_sandbox_id=pod)
    status = node.pod_status(pod)
    assert status.state == NOTREADY


def test_ipv4_and_ipv6(own_daemon, busybox):
    daemon = own_daemon(start=False)
    daemon.write_network(daemon.network_config(ipv6=True))
    node = Node(daemon.start(), busybox)
    pod = node.pod()
    network = node.pod_status(pod[0]).network
    assert network.ip.startswith(daemon.subnet)
    [other] = [ip.ip for ip in network.additional_ips]
    assert ":" in other
    out = node.output(pod, "ip -6 addr show dev eth0; ip -4 addr show dev eth0")
    assert network.ip in out
    found = {ipaddress.ip_address(a) for a in re.findall(r"inet6 ([0-9a-f:]+)/", out)}
    assert ipaddress.ip_address(other) in found


def test_ipv6_alone(own_daemon, busybox):
    daemon = own_daemon(start=False)
    network = daemon.network_config(ipv6=True)
    del network["plugins"][0]["ipam"]["ranges"][0]
    daemon.write_network(network)
    node = Node(daemon.start(), busybox)
    assert ":" in node.pod_status(node.run_pod()).network.ip


def fetch(host, port):
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(f"http://{host}:{port}/", timeout=2).read()
    except OSError:
        return None


def test_host_ports_by_the_portmap_plugin(own_daemon, busybox):
    daemon = own_daemon(start=False)
    daemon.write_network(daemon.network_config(portmap=True))
    node = Node(daemon.start(), busybox)
    before = chains()
    port = free_port()
    try:
        pod = node.pod(port_mappings=[{"protocol": "TCP", "container_port": 8080, "host_port": port}])
        assert any(str(port) in rule for rule in leaks.all_rules())
        node.sh(pod, "mkdir /w; echo mapped > /w/index.html; exec httpd -f -p 8080 -h /w")
        address = node.pod_status(pod[0]).network.ip
        wait_for(lambda: fetch(address, 8080) == b"mapped\n", "the web server")
        node.remove_pod(pod[0])
        assert not any(f"dport {port} " in rule for rule in leaks.all_rules())
    finally:
        drop_chains(before)


def chains():
    return {
        (tool, line.split()[1])
        for tool in ("iptables", "ip6tables")
        for line in subprocess.run([f"/usr/sbin/{tool}", "-t", "nat", "-S"], capture_output=True, text=True).stdout.splitlines()
        if line.startswith("-N ")
    }


def drop_chains(before):
    """The portmap plugin keeps its top chains for the next pod; ours are the last of this test."""
    added = chains() - before
    for tool, name in added:
        for builtin in ("PREROUTING", "OUTPUT", "POSTROUTING"):
            rules = subprocess.run([f"/usr/sbin/{tool}", "-t", "nat", "-S", builtin], stdout=subprocess.PIPE, text=True).stdout
            for line in rules.splitlines():
                if f"-j {name}" in line and line.startswith("-A "):
                    subprocess.run([f"/usr/sbin/{tool}", "-t", "nat", "-D", *shlex.split(line)[1:]], check=False)
    for action in ("-F", "-X"):
        for tool, name in added:
            subprocess.run([f"/usr/sbin/{tool}", "-t", "nat", action, name], check=False, stderr=subprocess.DEVNULL)


def test_bad_port_mappings(node):
    for mapping in (
        {"container_port": 0, "host_port": 80}, {"container_port": 70000, "host_port": 80}, {"container_port": 80, "host_port": 70000},
        {"container_port": -1, "host_port": 80}, {"container_port": 80, "host_port": 80, "host_ip": "nowhere"},
        {"container_port": 80, "host_port": 80, "protocol": 9},
    ):
        error_of(lambda: node.run_pod(port_mappings=[mapping]), KINDS.INVALID_ARGUMENT)
    assert not node.client.ListPodSandbox().items


# ---- which network, and when ----

def condition(daemon):
    return [c for c in daemon.client.Status().status.conditions if c.type == "NetworkReady"][0]


def recorded(name, network, **more):
    """A configuration of a network with one recording plugin."""
    return {"cniVersion": "1.0.0", "name": network, "plugins": [{"type": name}], **more}


def two_networks(own_daemon, busybox, lines, start=True):
    daemon = own_daemon(start=False, network=False, config={"network": lines})
    one, two = Recorder(daemon, "one", "198.51.100.1"), Recorder(daemon, "two", "198.51.100.2")
    daemon.write_network(recorded("one", "first"), "10-one.conflist")
    daemon.write_network(recorded("two", "second"), "20-two.conflist")
    if start:
        daemon.start()
    return Node(daemon, busybox) if start else daemon, one, two


def test_a_configuration_that_comes_makes_the_node_ready_and_one_that_goes_does_not(own_daemon, busybox):
    daemon = own_daemon(network=False)
    node = Node(daemon, busybox)
    assert not condition(daemon).status and daemon.cni in condition(daemon).message
    daemon.write_network()
    wait_for(lambda: condition(daemon).status, "the network to be ready without a restart")
    pod = node.run_pod()
    daemon.remove_network()
    wait_for(lambda: not condition(daemon).status, "the network to be gone")
    assert condition(daemon).reason and daemon.cni in condition(daemon).message
    node.remove_pod(pod)


def test_a_network_by_its_name(own_daemon, busybox):
    node, one, two = two_networks(own_daemon, busybox, 'default_network = "second"\n')
    assert node.pod_status(node.run_pod()).network.ip == "198.51.100.2"
    assert not one.calls("ADD")
    node.daemon.remove_network("20-two.conflist")
    wait_for(lambda: not condition(node.daemon).status, "the named network to be missed")
    assert "second" in condition(node.daemon).message


def test_several_networks_for_a_pod(own_daemon, busybox):
    node, one, two = two_networks(own_daemon, busybox, "max_conf_num = 0\n")
    pod = node.run_pod()
    assert node.pod_status(pod).network.ip == "198.51.100.1"
    assert not node.pod_status(pod).network.additional_ips
    assert [c["env"]["CNI_IFNAME"] for c in one.calls("ADD")] == ["eth0"]
    assert [c["env"]["CNI_IFNAME"] for c in two.calls("ADD")] == ["eth1"]
    node.daemon.restart()
    node.remove_pod(pod)
    assert [c["env"]["CNI_IFNAME"] for c in one.calls("DEL")] == ["eth0"]
    assert [c["env"]["CNI_IFNAME"] for c in two.calls("DEL")] == ["eth1"]


def test_when_a_further_network_fails_the_first_is_undone(own_daemon, busybox):
    node, one, two = two_networks(own_daemon, busybox, "max_conf_num = 2\n")
    two.behave("ADD", "echo broken >&2; exit 1\n")
    assert "broken" in error_of(lambda: node.run_pod(), *FAILS)
    assert one.calls("DEL") and two.calls("DEL")


def test_a_pod_waits_for_the_network(own_daemon, busybox):
    node = Node(own_daemon(network=False, config={"network": "ready_timeout = 60\n"}), busybox)
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(node.run_pod, None, "", 600)
        wait_for(lambda: "waiting for the network" in subprocess.run(
            [node.daemon.crisp, "explain", "--socket", node.daemon.socket], stdout=subprocess.PIPE, text=True).stdout,
            "the pod to wait")
        node.daemon.write_network()
        assert node.pod_status(made.result()).network.ip


def test_a_pod_waits_for_the_network_no_longer_than_that(own_daemon, busybox):
    node = Node(own_daemon(network=False, config={"network": "ready_timeout = 1\n"}), busybox)
    message = error_of(lambda: node.run_pod(), KINDS.FAILED_PRECONDITION)
    assert "not ready" in message and node.daemon.cni in message
    # Pods on the host's network need none.
    node.run_pod(linux=node.namespaces(network=NODE), hostname="")


NOT_READY = "echo '{\"cniVersion\":\"1.1.0\",\"code\":50,\"msg\":\"not yet\"}'; exit 1\n"


def test_plugins_are_asked_for_their_status(recording):
    node, recorder = recording(network={"cniVersion": "1.1.0"})
    daemon = node.daemon
    wait_for(lambda: condition(daemon).status, "the plugin to be ready")
    recorder.behave("STATUS", NOT_READY)
    wait_for(lambda: not condition(daemon).status, "the plugin's word to count")
    assert "not yet" in condition(daemon).message
    recorder.forget("STATUS")
    wait_for(lambda: condition(daemon).status, "the plugin to be ready again")


def test_for_a_while_plugins_may_say_that_they_are_not_ready(recording):
    node, recorder = recording(network={"cniVersion": "1.1.0"}, config={"network": "status_grace_period = 3600\n"})
    daemon = node.daemon
    wait_for(lambda: condition(daemon).status, "the plugin to be ready")
    recorder.behave("STATUS", NOT_READY)
    before = len(recorder.calls("STATUS"))
    wait_for(lambda: len(recorder.calls("STATUS")) >= before + 2, "the plugin to be asked twice")
    assert condition(daemon).status
    node.run_pod()
    daemon.write_config({"network": "status_grace_period = 1\n"})
    recorder.forget("STATUS")
    daemon.restart()
    wait_for(lambda: condition(daemon).status, "the plugin to be ready")
    recorder.behave("STATUS", NOT_READY)
    wait_for(lambda: not condition(daemon).status, "the grace to be over")


@pytest.mark.parametrize("preference, first", [("cni", 4), ("ipv4", 4), ("ipv6", 6)])
def test_which_address_is_the_first(own_daemon, busybox, preference, first):
    daemon = own_daemon(config={"network": f'ip_preference = "{preference}"\n'}, start=False)
    daemon.write_network(daemon.network_config(ipv6=True))
    daemon.start()
    node = Node(daemon, busybox)
    network = node.pod_status(node.run_pod()).network
    versions = [ipaddress.ip_address(ip).version for ip in (network.ip, network.additional_ips[0].ip)]
    assert versions == [first, 10 - first]


def test_a_handler_with_networks_of_its_own(own_daemon, busybox, handler):
    daemon = own_daemon(start=False, network=False)
    one, two = Recorder(daemon, "one", "198.51.100.1"), Recorder(daemon, "two", "198.51.100.2")
    other = f"{daemon.root}/cni-other"
    os.makedirs(other)
    daemon.write_config({"runtime.handlers.other": f'path = "{daemon.runtime}"\ncni_conf_dir = "{other}"\n'})
    daemon.write_network(recorded("one", "first"))
    with open(f"{other}/10-other.conflist", "w") as file:
        json.dump(recorded("two", "second"), file)
    daemon.start()
    node = Node(daemon, busybox)
    pods = [node.run_pod(), node.run_pod(handler="other")]
    assert [node.pod_status(pod).network.ip for pod in pods] == ["198.51.100.1", "198.51.100.2"]
    daemon.restart()
    assert not one.calls("DEL") and not two.calls("DEL"), "what is there is not collected"
    for pod in pods:
        node.remove_pod(pod)
    assert {c["env"]["CNI_CONTAINERID"] for c in one.calls("DEL")} == {pods[0]}
    assert {c["env"]["CNI_CONTAINERID"] for c in two.calls("DEL")} == {pods[1]}


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


# ---- the node's ranges ----

TEMPLATE = """{{
  "cniVersion": "1.0.0", "name": "rendered",
  "plugins": [{{"type": "bridge", "bridge": "{bridge}", "isGateway": true, "ipam": {{
    "type": "host-local", "dataDir": "{root}/ipam",
    "ranges": [{{{{range $i, $range := .PodCIDRRanges}}}}{{{{if $i}}}}, {{{{end}}}}[{{"subnet": "{{{{$range}}}}"}}]{{{{end}}}}],
    "routes": [{{{{range $i, $route := .Routes}}}}{{{{if $i}}}}, {{{{end}}}}{{"dst": "{{{{$route}}}}"}}{{{{end}}}}]
  }}}}]
}}
"""


def tell_ranges(daemon, ranges):
    daemon.client.UpdateRuntimeConfig(runtime_config={"network_config": {"pod_cidr": ranges}})


def test_a_template_becomes_the_configuration_when_the_ranges_are_told(own_daemon, busybox):
    daemon = own_daemon(network=False, start=False)
    template = f"{daemon.root}/net.tmpl"
    with open(template, "w") as file:
        file.write(TEMPLATE.format(bridge=daemon.bridge, root=daemon.root))
    daemon.write_config({"network": f'conf_template = "{template}"\n'})
    daemon.start()
    tell_ranges(daemon, "")
    assert not os.listdir(daemon.cni)
    tell_ranges(daemon, f"{daemon.subnet}.0/24,{daemon.subnet6}/64")
    with open(f"{daemon.cni}/10-crisp-net.conflist") as file:
        ipam = json.load(file)["plugins"][0]["ipam"]
    assert ipam["ranges"] == [[{"subnet": f"{daemon.subnet}.0/24"}], [{"subnet": f"{daemon.subnet6}/64"}]]
    assert [r["dst"] for r in ipam["routes"]] == ["0.0.0.0/0", "::/0"]
    wait_for(lambda: condition(daemon).status, "the network to be ready")
    assert Node(daemon, busybox).run_pod()
    # A network that is there is left as it is.
    tell_ranges(daemon, "10.9.9.0/24")
    with open(f"{daemon.cni}/10-crisp-net.conflist") as file:
        assert "10.9.9" not in file.read()


@pytest.mark.parametrize("text, words", [("{{.Nothing}}", "line 1"), ("{}", "name"), ("{{range .Routes}}", "{{end}}"), (None, "net.tmpl")])
def test_a_template_that_is_none_is_told(own_daemon, text, words):
    daemon = own_daemon(network=False, start=False)
    template = f"{daemon.root}/net.tmpl"
    if text is not None:
        with open(template, "w") as file:
            file.write(text)
    daemon.write_config({"network": f'conf_template = "{template}"\n'})
    daemon.start()
    assert words in error_of(lambda: tell_ranges(daemon, "10.9.9.0/24"), *FAILS)
    assert not os.listdir(daemon.cni)


def test_without_a_template_ranges_are_taken_and_nothing_is_written(own_daemon):
    daemon = own_daemon(network=False)
    tell_ranges(daemon, "10.9.9.0/24,fd00::/64")
    assert not os.listdir(daemon.cni)
    assert "pod_cidr" in error_of(lambda: tell_ranges(daemon, "everything"), KINDS.INVALID_ARGUMENT)
