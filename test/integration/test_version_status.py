"""Who the daemon says it is, and whether it says that it is ready."""
import json
import os
import socket
import stat
import subprocess
import tomllib

import grpc
import pytest
from kit import cri
from kit.wait import wait_for
from support import KINDS, error_of, monitor_of

NOT_YET = ["CheckpointContainer", "CheckpointPod", "RestorePod"]


def conditions(client, **more):
    return {c.type: c for c in client.Status(**more).status.conditions}


def test_version(daemon):
    version = daemon.client.Version(version="v1")
    assert version.version == "0.1.0"
    assert version.runtime_name == "crisp"
    assert version.runtime_api_version == "v1"
    with open(f"{cri.TOP}/VERSION") as file:
        assert version.runtime_version == file.read().strip()
    for other in ("", "0.1.0", "v7"):
        assert daemon.client.Version(version=other) == version


def test_status_is_ready(daemon):
    got = conditions(daemon.client)
    assert got["RuntimeReady"].status, got["RuntimeReady"].message
    assert got["NetworkReady"].status, got["NetworkReady"].message


def test_status_names_the_handlers_and_the_default_with_an_empty_name(daemon):
    names = [h.name for h in daemon.client.Status().runtime_handlers]
    assert "" in names
    assert daemon.handler in names
    assert len(names) == len(set(names))


def test_status_tells_what_the_runtime_can(daemon):
    status = daemon.client.Status()
    assert status.features.supplemental_groups_policy
    features = {h.name: h.features for h in status.runtime_handlers}
    assert features[""] == features[daemon.handler], "the default is one of them"


def test_status_verbose_has_a_json_document(daemon):
    assert not daemon.client.Status().info
    info = daemon.client.Status(verbose=True).info
    assert info
    for text in info.values():
        json.loads(text)


@pytest.mark.node
def test_runtime_config_names_the_cgroup_driver(daemon):
    config = daemon.client.RuntimeConfig()
    assert config.HasField("linux"), "systemd is what a message that is not there says, too"
    assert config.linux.cgroup_driver == (cri.pb.SYSTEMD if daemon.cgroup_driver == "systemd" else cri.pb.CGROUPFS)


def test_update_runtime_config_is_accepted(daemon):
    daemon.client.UpdateRuntimeConfig(runtime_config={"network_config": {"pod_cidr": "10.1.0.0/16"}})
    daemon.client.UpdateRuntimeConfig()


@pytest.mark.parametrize("name", NOT_YET)
def test_methods_that_are_not_there_yet_say_so(daemon, name):
    _, _, _, streams = cri.METHODS[name]
    call = getattr(daemon.client, name)
    error_of(lambda: list(call(deadline=20)) if streams else call(deadline=20), KINDS.UNIMPLEMENTED)


@pytest.mark.parametrize("path", ["/runtime.v1.RuntimeService/Nonsense", "/runtime.v1alpha2.RuntimeService/Version", "/x/y"])
def test_unknown_methods_are_unimplemented(daemon, path):
    error_of(lambda: daemon.client.raw(path, b"", deadline=20), KINDS.UNIMPLEMENTED)


def test_the_socket_is_for_root_and_its_group(daemon):
    mode = os.stat(daemon.socket).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


def test_whoever_starts_it_lends_it_neither_umask_nor_input(own_node):
    """Of a root whose umask is 077 the pods' files, and containers of runtimes that set none, would be closed to all others."""
    for opened in ("</dev/zero", "<&-"):
        node = own_node(wrapper=["/bin/sh", "-c", f'umask 077; exec "$@" {opened}', "sh"])
        with open(f"/proc/{node.daemon.pid}/status") as file:
            assert "Umask:\t0022\n" in file.read()
        assert os.readlink(f"/proc/{node.daemon.pid}/fd/0") == "/dev/null"
        pod = node.pod()
        assert node.output(pod, "umask; stat -c %a /etc/hostname /etc/resolv.conf").split() == ["0022", "644", "644"]
        assert stat.S_IMODE(os.stat(pod[1]["log_directory"]).st_mode) == 0o755


def open_files(pid):
    with open(f"/proc/{pid}/limits") as file:
        return [line.split()[3:5] for line in file if line.startswith("Max open files")][0]


def test_it_may_open_as_many_files_as_it_can_and_what_it_starts_as_many_as_before(own_node):
    """200 pods that come at once need more than the 1024 that a shell gives."""
    node = own_node(wrapper=["prlimit", "--nofile=700:6000"])
    assert open_files(node.daemon.pid) == ["6000", "6000"]
    assert open_files(monitor_of(node.sleeper(node.pod()))) == ["700", "6000"]


def test_it_does_not_start_as_anybody_but_root(own_daemon):
    read_all = "+dac_read_search"  # the folders above the program may be closed to others
    daemon = own_daemon(start=False, network=False, wrapper=["setpriv", "--reuid=65534", f"--inh-caps={read_all}", f"--ambient-caps={read_all}"])
    daemon.start(wait=False)
    assert daemon.process.wait(60) == 1
    assert "must run as root" in daemon.log_text()
    daemon.process = None


def test_a_request_that_is_not_protobuf_is_refused(daemon):
    raw = daemon.client.raw
    for data in (b"\xff" * 40, b"\x0a\x7f", b"\x08" * 300):
        error_of(lambda: raw("/runtime.v1.RuntimeService/RunPodSandbox", data, deadline=20), KINDS.INVALID_ARGUMENT, KINDS.INTERNAL)
    assert daemon.client.Version().version


def test_a_request_beyond_the_message_limit_is_refused(daemon):
    error_of(
        lambda: daemon.client.Version(version="x" * (17 << 20), deadline=60), KINDS.RESOURCE_EXHAUSTED
    )
    assert daemon.client.Version().version


def test_bytes_that_are_not_http2_end_only_their_own_connection(daemon):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(daemon.socket)
        s.sendall(b"GET / HTTP/1.0\r\n\r\n" + b"\0" * 1000)
        assert daemon.client.Version().version


def test_a_second_daemon_on_the_same_folders_is_refused(daemon):
    second = subprocess.run(
        [daemon.crisp, "serve", "--config", f"{daemon.root}/crisp.toml"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
    )
    assert second.returncode != 0
    assert second.stdout
    assert daemon.client.Version().version


def test_crisp_version(daemon):
    out = subprocess.run([daemon.crisp, "version"], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
    assert daemon.client.Version().runtime_version in out


def test_crisp_config_prints_what_is_in_effect(daemon):
    out = subprocess.run(
        [daemon.crisp, "config", "--config", f"{daemon.root}/crisp.toml"], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout
    config = tomllib.loads(out)
    assert config["state_dir"] == daemon.state
    assert config["api"]["listen"] == daemon.socket
    assert config["runtime"]["default_handler"] == daemon.handler
    assert config["runtime"]["handlers"][daemon.handler]["kind"] == ("shim" if daemon.handler == "shim" else "oci")


@pytest.mark.parametrize(
    "extra, names",
    [
        ({"api": 'lisen = "/x"\n'}, ("lisen", "listen")),
        ({"network": "config_dir = 5\n"}, ("config_dir",)),
        ({"runtme": "x = 1\n"}, ("runtme",)),
        ({"api": "= = =\n"}, ()),
    ],
)
def test_a_wrong_configuration_stops_the_start_and_says_where(own_daemon, extra, names):
    daemon = own_daemon(start=False)
    section, line = next(iter(extra.items()))
    with open(f"{daemon.root}/wrong.toml", "w") as file:
        file.write(f"\n\n[{section}]\n{line}")
    ended = subprocess.run(
        [daemon.crisp, "serve", "--config", f"{daemon.root}/wrong.toml"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
    )
    assert ended.returncode not in (0, -6, -11)
    assert "wrong.toml" in ended.stdout
    for name in names:
        assert name in ended.stdout


def test_sd_notify_says_ready(own_daemon):
    daemon = own_daemon(start=False)
    path = f"{daemon.root}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(path)
        s.settimeout(120)
        daemon.start(wait=False, env={"NOTIFY_SOCKET": path})
        while b"READY=1" not in s.recv(4096):
            pass
        # Ready means that a client that comes now is answered.
        assert daemon.client.Version(deadline=30).version


def test_sigterm_ends_it_with_success(own_daemon):
    daemon = own_daemon()
    assert daemon.terminate() == 0
    assert not os.path.exists(daemon.socket)
    daemon.start()


def test_a_client_that_goes_away_is_no_harm(daemon):
    for _ in range(20):
        call = daemon.client.start("Status", verbose=True)
        call.cancel()
    assert daemon.client.Version().version


def test_network_is_not_ready_without_a_configuration_and_says_why(own_daemon):
    daemon = own_daemon(network=False)
    got = conditions(daemon.client)
    assert got["RuntimeReady"].status
    assert not got["NetworkReady"].status
    assert got["NetworkReady"].reason
    assert daemon.cni in got["NetworkReady"].message


def test_network_ready_follows_the_folder(own_daemon):
    daemon = own_daemon(network=False)
    assert not conditions(daemon.client)["NetworkReady"].status
    daemon.write_network()
    wait_for(lambda: conditions(daemon.client)["NetworkReady"].status, "the network to be ready")
    daemon.remove_network()
    wait_for(lambda: not conditions(daemon.client)["NetworkReady"].status, "the network to be gone")
    daemon.write_network("{ this is not JSON")
    message = conditions(daemon.client)["NetworkReady"].message
    wait_for(lambda: not conditions(daemon.client)["NetworkReady"].status, "the network to be refused")
    assert message
    daemon.write_network()
    wait_for(lambda: conditions(daemon.client)["NetworkReady"].status, "the network to be ready again")


def test_deadline_of_a_client_is_seen(daemon):
    try:
        daemon.client.PullImage(image={"image": "192.0.2.77:5000/nobody/home:1"}, deadline=0.5)
        raise AssertionError("pulled from nowhere")
    except grpc.RpcError as e:
        assert e.code() in (KINDS.DEADLINE_EXCEEDED, KINDS.UNKNOWN, KINDS.UNAVAILABLE)
    assert daemon.client.Version().version


CHROOT = """
set -e
mount -t tmpfs tmpfs "$1"
cd /
for name in *; do
    if [ -h "$name" ]; then ln -s "$(readlink "$name")" "$1/$name"
    elif [ -d "$name" ]; then mkdir "$1/$name"; mount --rbind "/$name" "$1/$name"
    fi
done
exec timeout 60 chroot "$1" "$2" serve --config "$3"
"""


def test_in_a_chroot_it_refuses_to_start(own_daemon):
    """What a runtime executes in a container would see the machine's own files there."""
    daemon = own_daemon(start=False)
    place = f"{daemon.root}/chroot"
    os.mkdir(place)
    ended = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", CHROOT, "sh", place, daemon.crisp, f"{daemon.root}/crisp.toml"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    assert ended.returncode == 1
    assert "chroot" in ended.stdout
