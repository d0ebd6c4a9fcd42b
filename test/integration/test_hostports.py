"""Host ports that crisp maps itself, where no plugin of the network does: by nftables, or by iptables where nft is not there."""
import re
import socket
import subprocess
import sys

import pytest
from kit import leaks
from kit.paths import program
from kit.registry import free_port
from kit.wait import wait_for
from support import KINDS, Node, error_of

TOOLS = ["nft", "iptables"]

UDP_SERVER = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 80))
while True:
    _, who = s.recvfrom(100)
    s.sendto(sys.argv[1].encode(), who)
"""


def hide_nft(daemon):
    """The daemon sees a machine on which nft is not installed: what stands there in its place cannot be run."""
    hide = f"mount --make-rslave / && mount --bind /dev/null {program('nft')} && exec \"$@\""
    daemon.wrapper = ["unshare", "-m", "--propagation", "unchanged", "/bin/sh", "-c", hide, "sh"]


@pytest.fixture(params=TOOLS)
def mapping(request, own_daemon, busybox):
    """A node whose network has no portmap plugin; for iptables its host has no nft."""
    def make(ipv6=False, config=None):
        daemon = own_daemon(start=False, config=config or {})
        daemon.write_network(daemon.network_config(ipv6=ipv6, masquerade=False))
        if request.param == "iptables":
            hide_nft(daemon)
        daemon.start()
        node = Node(daemon, busybox)
        node.tool = request.param
        return node
    return make


def serve(node, port, host_ip=""):
    """A pod that answers on port 80 of its own, and so of the host's port."""
    pod = node.pod(port_mappings=[{"protocol": "TCP", "container_port": 80, "host_port": port, "host_ip": host_ip}])
    return pod, node.sh(pod, "while :; do nc -l -p 80 -e echo hello; done")


def ask(address, port):
    try:
        with socket.create_connection((address, port), 5) as s:
            s.settimeout(5)
            return s.recv(100).decode().strip()
    except OSError as e:
        return str(e)


def own_rules(node, pod):
    return [line for line in leaks.all_rules() if pod in line]


def test_a_host_port_leads_to_the_pod_until_it_stops(mapping):
    node = mapping()
    port = free_port()
    (pod, _), _ = serve(node, port)
    gateway = f"{node.daemon.subnet}.1"
    wait_for(lambda: ask(gateway, port) == "hello", "an answer on the host port")
    rules = own_rules(node, pod)
    assert rules
    if node.tool == "iptables":
        assert [line for line in rules if line.startswith("iptables-save:") and "DNAT" in line]
    # Another pod reaches it, too, as does the pod itself.
    other = node.sleeper(node.pod())
    assert node.exec(other, "nc", "-w", "5", gateway, str(port)).stdout == b"hello\n"
    node.client.StopPodSandbox(pod_sandbox_id=pod)
    assert not own_rules(node, pod)
    assert ask(gateway, port) != "hello"
    node.client.StopPodSandbox(pod_sandbox_id=pod)


def test_a_pod_reaches_itself_by_its_host_port(mapping):
    node = mapping()
    # Of bridges only those in hairpin mode let a packet out where it came in.
    daemon = node.daemon
    config = daemon.network_config()
    config["plugins"][0]["hairpinMode"] = True
    daemon.write_network(config)
    daemon.restart()
    port = free_port()
    _, container = serve(node, port)
    gateway = f"{daemon.subnet}.1"
    wait_for(lambda: ask(gateway, port) == "hello", "an answer on the host port")
    assert node.exec(container, "nc", "-w", "5", gateway, str(port)).stdout == b"hello\n"


def test_a_host_port_of_one_address_of_the_host(mapping):
    node = mapping()
    port = free_port()
    gateway = f"{node.daemon.subnet}.1"
    node.pod()  # the bridge comes with the first pod
    serve(node, port, host_ip=gateway)
    wait_for(lambda: ask(gateway, port) == "hello", "an answer on the host port")
    others = [line.split()[3].split("/")[0] for line in subprocess.run(
        [program("ip"), "-o", "-4", "addr"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()]
    for other in others:
        if other not in (gateway, "127.0.0.1"):
            assert ask(other, port) != "hello"


def test_host_ports_of_both_families(mapping):
    node = mapping(ipv6=True)
    port = free_port()
    pod = node.pod(port_mappings=[{"protocol": "TCP", "container_port": 80, "host_port": port}])
    assert ":" in node.pod_status(pod[0]).network.additional_ips[0].ip
    node.sh(pod, "while :; do nc -l -p 80 -e echo hello; done")
    for gateway in (f"{node.daemon.subnet}.1", f"{node.daemon.subnet6}1"):
        wait_for(lambda: ask(gateway, port) == "hello", f"an answer at {gateway}")
    node.remove_pod(pod[0])
    assert not own_rules(node, pod[0])


def test_rules_go_after_a_crash(mapping):
    node = mapping()
    port = free_port()
    (pod, _), _ = serve(node, port)
    rules = own_rules(node, pod)
    assert rules
    mark = re.search(r"(crisp[0-9a-f]{8}) ", rules[0])[1]
    node.daemon.restart()
    assert own_rules(node, pod), "a pod that is there keeps its ports"
    node.remove_pod(pod)
    assert not own_rules(node, pod)
    # Of pods whose records are lost nothing stays either; what is another daemon's does.
    node.daemon.kill()
    mine, other = f"{mark} lost{node.daemon.tag}", f"crispffffffff lost{node.daemon.tag}"
    for number, comment in enumerate((mine, other)):
        if node.tool == "nft":
            element = f'{{ tcp . {60000 + number} comment "{comment}" : {node.daemon.subnet}.99 . 80 }}'
            subprocess.run([program("nft"), f"add element ip crisp-hostports ports {element}"], check=True)
        else:
            subprocess.run([program("iptables"), "-w", "-t", "nat", "-A", "PREROUTING", "-m", "comment", "--comment", comment, "-j", "RETURN"],
                           check=True)
    node.daemon.start()
    wait_for(lambda: not own_rules(node, mine), "the rules to be swept")
    assert own_rules(node, other)
    if node.tool == "nft":
        subprocess.run([program("nft"), "delete element ip crisp-hostports ports { tcp . 60001 }"], check=True)
    else:
        subprocess.run([program("iptables"), "-w", "-t", "nat", "-D", "PREROUTING", "-m", "comment", "--comment", other, "-j", "RETURN"],
                       check=True)


def test_a_taken_host_port_is_told_and_left_to_its_owner(own_daemon, busybox):
    node = Node(own_daemon(), busybox)
    port = free_port()
    (pod, _), _ = serve(node, port)
    message = error_of(lambda: node.pod(port_mappings=[{"protocol": "TCP", "container_port": 81, "host_port": port}]),
                       KINDS.ALREADY_EXISTS)
    assert "host port" in message
    wait_for(lambda: ask(f"{node.daemon.subnet}.1", port) == "hello", "the first to answer still")
    assert len(node.client.ListPodSandbox().items) == 1


def test_host_ports_can_be_left_to_others(mapping):
    node = mapping(config={"network": "disable_hostport_mapping = true\n"})
    (pod, _), _ = serve(node, free_port())
    assert not own_rules(node, pod)


def test_udp_goes_to_the_pod_that_has_the_port_now(own_daemon, busybox):
    node = Node(own_daemon(), busybox)
    port = free_port()
    gateway = f"{node.daemon.subnet}.1"
    # One socket, and so one flow to the kernel, from before the pod was there until after its successor came.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        node.pod()  # the bridge comes with the first pod
        s.settimeout(0.5)

        def answer():
            try:
                s.sendto(b"x\n", (gateway, port))
                return s.recv(100).decode().strip()
            except OSError:
                return ""
        assert answer() == ""
        for name in ("one", "two"):
            pod = node.pod(port_mappings=[{"protocol": "UDP", "container_port": 80, "host_port": port}])
            pid = node.pid_of(node.sleeper(pod))
            server = subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", UDP_SERVER, name])
            try:
                wait_for(lambda: answer() == name, f"an answer of {name}")
            finally:
                server.kill()
                server.wait()
            node.remove_pod(pod[0])
