"""The daemon's own metrics over HTTP: TCP, a unix socket, TLS, chosen collectors."""
import http.client
import os
import re
import socket
import ssl
import stat
import subprocess

import grpc
import pytest
from kit import exposition
from kit.paths import program
from kit.wait import wait_for
from support import error_of


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def served(own_node):
    """A node that serves its metrics on TCP, and the port."""
    def make(lines="", **more):
        port = free_port()
        config = {"metrics": f'listen = "127.0.0.1:{port}"\n{lines}'}
        return own_node(config=config, **more), port
    return make


def ask(port, method="GET", path="/metrics", body=None, context=None):
    connect = http.client.HTTPSConnection if context else http.client.HTTPConnection
    connection = connect("127.0.0.1", port, timeout=60, **({"context": context} if context else {}))
    try:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        connection.close()


def read(port, **more):
    status, text, headers = ask(port, **more)
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return exposition.read(text)


def linux_memory(limit):
    return {"resources": {"memory_limit_in_bytes": limit}}


def test_counters_move(served, registry):
    node, port = served()
    before = read(port)
    assert before["crisp_build_info", 'version="%s"' % node.client.Version().runtime_version] == 1
    pod = node.pod()
    ended = node.sh(pod, "exit 0", name="ended")
    node.wait_exit(ended)
    killed = node.sh(pod, "head -c 300000000 /dev/zero | tail -c 300000000", name="killed", linux=linux_memory(20 << 20))
    assert node.wait_exit(killed).reason == "OOMKilled"
    runs = node.sleeper(pod, name="runs")
    error_of(lambda: node.client.ContainerStatus(container_id="0" * 64), grpc.StatusCode.NOT_FOUND)
    after = read(port)
    def grown(name, labels=None):
        return after[name, labels] - before.get((name, labels), 0)
    assert grown("crisp_request_seconds_count", 'method="RunPodSandbox"') >= 1
    assert grown("crisp_request_seconds_count", 'method="CreateContainer"') == 3
    assert grown("crisp_request_seconds_sum", 'method="CreateContainer"') > 0
    assert after["crisp_request_seconds_bucket", 'method="CreateContainer",le="+Inf"'] == 3
    assert grown("crisp_request_errors_total", 'method="ContainerStatus",code="NOT_FOUND"') == 1
    assert grown("crisp_containers_ended_total") == 2
    assert grown("crisp_containers_oom_killed_total") == 1
    assert after["crisp_containers", None] == 3 and after["crisp_pods", None] == 1
    assert after["crisp_containers_by_state", 'state="running"'] == 1
    assert after["crisp_containers_by_state", 'state="exited"'] == 2
    assert grown("crisp_cni_plugin_seconds_count", 'command="ADD"') >= 1
    assert after["crisp_cni_plugin_failures_total", 'command="ADD"'] >= 0
    mine = f'namespace="default",pod="{pod[1]["metadata"]["name"]}",container="runs",id="{runs}"'
    assert after["crisp_container_memory_bytes", mine] > 0 and after["crisp_container_pids", mine] >= 1
    assert after["crisp_container_cpu_seconds_total", mine] > 0
    wait_for(lambda: read(port)["crisp_container_log_bytes", mine] > 0, "a line in the log")
    assert after["process_resident_memory_bytes", None] > 1e6 and after["process_open_fds", None] > 5
    # The command prints the same.
    printed = subprocess.run([node.daemon.crisp, "metrics", "--socket", node.daemon.socket], capture_output=True, text=True, check=True)
    assert {name for name, _ in exposition.read(printed.stdout)} == {name for name, _ in after}


def test_defunct_processes_are_counted(served):
    _, port = served('collectors = ["process"]\n')
    child = subprocess.Popen([program("true")])
    try:
        wait_for(lambda: open(f"/proc/{child.pid}/stat").read().split(")")[-1].split()[0] == "Z", "a zombie")
        assert read(port)["crisp_processes_defunct", None] >= 1
    finally:
        child.wait()


def test_a_lost_monitor_is_counted(served):
    node, port = served('collectors = ["containers"]\n')
    container = node.sleeper(node.pod())
    main = node.pid_of(container)
    pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and is_monitor_of(pid, container)]
    assert len(pids) == 1
    os.kill(int(pids[0]), 9)
    try:
        os.kill(main, 9)
    except ProcessLookupError:
        pass  # the daemon ends what has no monitor
    node.wait_exit(container)
    wait_for(lambda: read(port)["crisp_containers_ended_unseen_total", None] == 1, "the count")


def is_monitor_of(pid, container):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return words[0].endswith(b"crisp-monitor") and any(container.encode() in word for word in words)


def test_a_stalled_step_is_told(own_node, tmp_path):
    plugins, port = tmp_path / "plugins", free_port()
    plugins.mkdir()
    (plugins / "hangs").write_text("#!/bin/sh\n[ \"$CNI_COMMAND\" = ADD ] && exec sleep 1000\necho '{\"cniVersion\": \"1.0.0\"}'\n")
    (plugins / "hangs").chmod(0o755)
    node = own_node(network=False, config={"network": "timeout = 5\n", "metrics": f'listen = "127.0.0.1:{port}"\n'})
    node.daemon.plugin_dirs.insert(0, str(plugins))
    node.daemon.write_config()
    node.daemon.write_network({"cniVersion": "1.0.0", "name": "hangs", "plugins": [{"type": "hangs"}]})
    node.daemon.restart()
    call = node.client.start("RunPodSandbox", config=node.pod_config("stuck"))
    def steps():
        return {labels for name, labels in read(port) if name == "crisp_step_oldest_seconds"}
    wait_for(lambda: 'kind="pod",step="calling CNI plugins"' in steps(), "the step")
    assert call.exception()
    wait_for(lambda: not steps(), "the step's end")
    assert read(port)["crisp_cni_plugin_failures_total", 'command="ADD"'] == 1


def test_the_library_is_loaded_only_where_it_is_used(node, served):
    def loaded(pid):
        with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
            return "libmicrohttpd" in file.read()
    other, _ = served()
    assert loaded(other.daemon.pid) and not loaded(node.daemon.pid)


def test_chosen_collectors(served):
    _, port = served('collectors = ["images"]\n')
    names = {name for name, _ in read(port)}
    assert "crisp_image_pulls_started_total" in names
    assert all(re.match("crisp_(image|build_info|bound)", name) for name in names), names


def test_names_of_crio(served):
    node, port = served('crio_names = true\n')
    node.client.Version()
    found = read(port)
    prefix = "container_runtime_crio_"
    assert found[f"{prefix}operations_total", 'operation="Version"'] >= 1
    assert found[f"{prefix}operations_latency_seconds_total_count", 'operation="Version"'] >= 1
    assert found[f"{prefix}image_pulls_success_total", None] >= 1
    assert found[f"{prefix}containers_oom_total", None] == 0
    assert found[f"{prefix}default_runtime", f'runtime="{node.daemon.handler}"'] == 1
    assert (f"{prefix}processes_defunct", None) in found


def test_other_requests(served):
    _, port = served()
    assert ask(port, path="/")[0] == 404
    assert ask(port, path="/metrics/../etc/passwd")[0] == 404
    status, _, headers = ask(port, "POST", body=b"x" * 200000)
    assert status == 405 and "GET" in headers["Allow"]
    status, text, headers = ask(port, "HEAD")
    assert status == 200 and text == "" and int(headers["Content-Length"]) > 100
    with socket.create_connection(("127.0.0.1", port), timeout=60) as rude:
        rude.sendall(b"\x00\xff rubbish\r\n\r\n")
        rude.recv(1000)
    assert ask(port)[0] == 200


def test_silent_clients_hold_up_nobody(served):
    node, port = served()
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    assert ask(port)[0] == 200
    node.daemon.terminate()
    for each in silent:
        each.close()


def test_a_unix_socket(own_node, tmp_path):
    path = str(tmp_path / "m.sock")
    node = own_node(config={"metrics": f'listen = "{path}"\n'})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    def get():
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(path)
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            got = b""
            while part := client.recv(65536):
                got += part
        head, text = got.decode().split("\r\n\r\n", 1)
        assert head.startswith("HTTP/1.1 200")
        return exposition.read(text)
    assert get()["crisp_images", None] == 1
    # A socket that a killed daemon left is taken over; at an orderly end it goes.
    node.daemon.kill()
    node.daemon.start()
    assert get()["crisp_images", None] == 1
    node.daemon.terminate()
    assert not os.path.exists(path)
    node.daemon.start()


@pytest.fixture
def certificate(tmp_path):
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    subprocess.run([program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=metrics", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
                   check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return cert, key


def test_tls(served, certificate):
    cert, key = certificate
    _, port = served(f'tls_cert = "{cert}"\ntls_key = "{key}"\n')
    context = ssl.create_default_context(cafile=cert)
    assert read(port, context=context)["crisp_images", None] == 1
    with pytest.raises((http.client.HTTPException, ConnectionError, OSError)):
        read(port)
    with pytest.raises(ssl.SSLError):
        read(port, context=ssl.create_default_context())


@pytest.mark.parametrize("lines, words", [
    ('listen = "127.0.0.1:{port}"\ntls_cert = "{cert}"\n', "one needs the other"),
    ('listen = "127.0.0.1:{port}"\ntls_cert = "{cert}"\ntls_key = "/nowhere"\n', "/nowhere"),
    ('listen = "127.0.0.1:{port}"\ntls_cert = "{cert}"\ntls_key = "{cert}"\n', "tls_cert"),
    ('listen = "127.0.0.1"\n', "ADDRESS:PORT"),
    ('listen = "localhost:80"\n', "ADDRESS:PORT"),
    ('listen = "127.0.0.1:99999"\n', "ADDRESS:PORT"),
    ('listen = "203.0.113.1:9"\n', "203.0.113.1:9"),
    ('collectors = ["weather"]\n', "weather"),
])
def test_what_is_wrong_is_told_at_the_start(own_daemon, certificate, lines, words):
    lines = lines.format(port=free_port(), cert=certificate[0])
    daemon = own_daemon()
    daemon.terminate()
    daemon.write_config({"metrics": lines})
    done = subprocess.run([daemon.crisp, "serve", "--config", f"{daemon.root}/crisp.toml"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and words in done.stderr, done.stderr
    daemon.write_config({})
    daemon.start()
