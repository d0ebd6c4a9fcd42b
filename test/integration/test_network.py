"""Networks of pods: which, when, and with which addresses."""
import ipaddress
import json
import os
import re
import shlex
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit import leaks
from kit.registry import free_port
from kit.wait import wait_for
from recorder import Recorder
from support import FAILS, KINDS, NODE, NOTREADY, Node, error_of

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
        # All of them are the plugin's; crisp's own have a comment of this kind.
        assert not [rule for rule in leaks.all_rules() if re.search(f"crisp[0-9a-f]{{8}} {pod[0]}", rule)]
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
