"""
What a shim like Kata's receives, checked byte by byte against the protocol's definition, by a shim that records it. The fake stands
for what Debian's shim (1.6) has not: a start answered in JSON, version 3 of the task API, a sandbox container, and processes that are
none of the host's.
"""
import json
import os
import re
import signal
import subprocess

import pytest
from grpc import StatusCode
from kit import cri, fake_shim, shim_pb
from kit.paths import TOP
from kit.wait import wait_for
from streams import run
from support import EXITED, NOTREADY, RUNNING, error_of

FAKE = f"{TOP}/contrib/kit/fake_shim.py"


class Recorded:
    def __init__(self, folder):
        self.folder = folder

    def all(self):
        with open(f"{self.folder}/requests") as file:
            return [json.loads(line) for line in file]

    def one(self, **wanted):
        found = [entry for entry in self.all() if all(entry.get(key) == value for key, value in wanted.items())]
        assert len(found) == 1, (wanted, found)
        return found[0]

    def methods(self):
        return [entry.get("method") or entry["what"] for entry in self.all()]

    def messages(self, method, kind):
        """The requests of one method, each proven to be the protocol's own form of what it says."""
        found = []
        for entry in self.all():
            if entry.get("method") == method:
                frame = shim_pb.ttrpc.Request.FromString(bytes.fromhex(entry["frame"]))
                assert frame.SerializeToString(deterministic=True).hex() == entry["frame"]
                message = kind.FromString(bytes.fromhex(entry["payload"]))
                assert message.SerializeToString(deterministic=True).hex() == entry["payload"]
                assert not message.UnknownFields()
                found.append(message)
        return found


@pytest.fixture
def fake(own_node, tmp_path):
    """A daemon whose handler "vm" is the fake."""
    def make(answer="json3", **more):
        program = tmp_path / "containerd-shim-fake-v2"
        fake_shim.install(program, tmp_path, answer)
        lines = "".join(f"{key} = {value}\n" for key, value in more.items())
        node = own_node(config={"runtime.handlers.vm": f'kind = "shim"\npath = "{program}"\n{lines}'})
        return node, Recorded(tmp_path)
    return make


def pod_of(node, **more):
    config = node.pod_config(**more)
    return node.run_pod(config, handler="vm"), config


def test_the_start(fake):
    node, recorded = fake(shim_config='"/etc/vm.toml"', shim_options_type='"io.example.options"')
    pod = pod_of(node)
    start = recorded.one(what="start")
    words = start["arguments"]
    assert words[-1] == "start"
    assert {words[i]: words[i + 1] for i in range(0, len(words) - 1, 2)} == {
        "-namespace": "k8s.io", "-address": node.daemon.socket, "-publish-binary": "/bin/false", "-id": pod[0]}
    environment = start["environment"]
    assert environment["NAMESPACE"] == "k8s.io" and environment["GRPC_ADDRESS"] == node.daemon.socket
    assert os.path.exists(environment["TTRPC_ADDRESS"])
    assert os.path.basename(start["cwd"]) == pod[0]
    from google.protobuf.any_pb2 import Any
    options = Any.FromString(bytes.fromhex(start["stdin"]))
    assert options.type_url == "runtimeoptions.v1.Options"
    said = shim_pb.options.Options.FromString(options.value)
    assert (said.type_url, said.config_path) == ("io.example.options", "/etc/vm.toml")
    assert recorded.messages("Create", shim_pb.task.CreateTaskRequest)[0].options == options
    node.remove_pod(pod[0])


def test_the_sandbox_container(fake):
    node, recorded = fake()
    pod = pod_of(node, annotations={"of.the": "pod"})
    config = recorded.one(what="start")["config"]
    notes = config["annotations"]
    assert notes["io.kubernetes.cri.container-type"] == notes["io.kubernetes.cri-o.ContainerType"] == "sandbox"
    assert notes["io.kubernetes.cri.sandbox-id"] == notes["io.kubernetes.cri-o.SandboxID"] == pod[0]
    assert notes["io.kubernetes.cri.sandbox-name"] == pod[1]["metadata"]["name"]
    assert notes["of.the"] == "pod"
    assert config["process"]["args"] == ["/pause", "--hold"]
    root = config["root"]["path"]
    assert config["root"]["readonly"] and sorted(os.listdir(root)) == ["dev", "etc", "pause", "proc", "sys"]
    with open(f"{root}/pause", "rb") as ours, open(f"{node.daemon.build}/crisp-pause", "rb") as built:
        assert ours.read() == built.read() and os.access(ours.name, os.X_OK)
    network = next(n["path"] for n in config["linux"]["namespaces"] if n["type"] == "network")
    assert os.stat(network)
    create = recorded.messages("Create", shim_pb.task.CreateTaskRequest)
    assert [message.id for message in create] == [pod[0]]
    assert create[0].bundle == recorded.one(what="start")["cwd"]
    assert recorded.messages("Start", shim_pb.task.StartRequest)[0].id == pod[0]
    before = len(recorded.all())
    node.remove_pod(pod[0])
    methods = recorded.methods()[before:]
    assert [m for m in methods if m in ("Kill", "Wait", "Shutdown")] == ["Kill", "Wait", "Shutdown"]
    assert recorded.messages("Shutdown", shim_pb.task.ShutdownRequest)[0].now


def test_annotations_of_both_families(fake):
    """Kata takes what it finds first, containerd's or CRI-O's: all of them, each with its value, and no other."""
    node, recorded = fake(default_annotations='{"of.the" = "handler", "io.kubernetes.cri.sandbox-id" = "a lie"}')
    limits = {"cpu_period": 100000, "cpu_quota": 50000, "cpu_shares": 512, "memory_limit_in_bytes": 64 << 20}
    config = node.pod_config(annotations={"of.the.pod": "yes"})
    config["linux"]["resources"] = limits
    pod = node.run_pod(config, handler="vm"), config
    container = node.create(pod, ["wait"], labels={"a": "label"}, annotations={"of.the.container": "yes"})
    node.start(container)
    name, uid = config["metadata"]["name"], config["metadata"]["uid"]
    whole = {
        "of.the": "handler", "of.the.pod": "yes",
        "io.kubernetes.cri.sandbox-id": pod[0], "io.kubernetes.cri.sandbox-name": name,
        "io.kubernetes.cri.sandbox-namespace": "default", "io.kubernetes.cri.sandbox-uid": uid,
        "io.kubernetes.cri.sandbox-cpu-period": "100000", "io.kubernetes.cri.sandbox-cpu-quota": "50000",
        "io.kubernetes.cri.sandbox-cpu-shares": "512", "io.kubernetes.cri.sandbox-memory": str(64 << 20),
        "io.kubernetes.cri-o.SandboxID": pod[0], "io.kubernetes.cri-o.SandboxName": f"k8s_{name}_default_{uid}_0",
        "io.container.manager": "crisp",
    }
    sandbox = dict(recorded.one(what="start")["config"]["annotations"])
    assert json.loads(sandbox.pop("pod-linux-resources.crio.io"))
    assert sandbox == {
        **whole, "io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-log-directory": config["log_directory"],
        "io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.cri-o.ContainerID": pod[0],
        "io.kubernetes.cri-o.Namespace": "default", "io.kubernetes.cri-o.KubeName": name}
    create = recorded.messages("Create", shim_pb.task.CreateTaskRequest)[1]
    with open(f"{create.bundle}/config.json") as file:
        spec = json.load(file)
    notes, status = spec["annotations"], node.status(container)
    assert json.loads(notes.pop("pod-linux-resources.crio.io"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", notes.pop("io.kubernetes.cri-o.Created"))
    assert json.loads(notes.pop("io.kubernetes.cri-o.Labels")) == {"a": "label"}
    assert json.loads(notes.pop("io.kubernetes.cri-o.Annotations")) == {"of.the.container": "yes"}
    assert json.loads(notes.pop("io.kubernetes.cri-o.Metadata")) == {"name": "main"}
    image = node.image
    assert notes == {
        **whole, "of.the.container": "yes", "a": "label",
        "io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "main", "io.kubernetes.cri.image-name": image,
        "io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.ContainerID": container,
        "io.kubernetes.cri-o.Name": f"k8s_main_{name}_default_{uid}_0", "io.kubernetes.cri-o.Image": image,
        "io.kubernetes.cri-o.ImageName": image, "io.kubernetes.cri-o.ImageRef": status.image_id.removeprefix("sha256:"),
        "io.kubernetes.cri-o.LogPath": status.log_path, "io.kubernetes.cri-o.TTY": "false", "io.kubernetes.cri-o.Stdin": "false",
        "io.kubernetes.cri-o.StdinOnce": "false", "io.kubernetes.cri-o.MountPoint": spec["root"]["path"],
        "io.kubernetes.cri-o.ResolvPath": f"{node.daemon.run}/pods/{pod[0]}/resolv.conf",
        "io.kubernetes.cri-o.IP.0": node.pod_status(pod[0]).network.ip}
    node.remove_pod(pod[0])


@pytest.mark.parametrize("answer, version", [("json3", "v3"), ("json2", "v2"), ("plain", "v2")])
def test_a_container(fake, answer, version):
    node, recorded = fake(answer)
    pod = pod_of(node)
    container = node.run(pod, ["exit", "7"])
    assert node.wait_exit(container).exit_code == 7
    assert node.text(pod, container) == "guest runs exit 7\n"
    assert {entry["service"] for entry in recorded.all() if entry["what"] == "request"} == {f"containerd.task.{version}.Task"}
    create = recorded.messages("Create", shim_pb.task.CreateTaskRequest)[1]
    assert create.id == container and not create.terminal and create.stdin == ""
    assert (os.path.basename(create.stdout), os.path.basename(create.stderr)) == ("stdout", "stderr")
    with open(f"{create.bundle}/config.json") as file:
        config = json.load(file)
    notes = config["annotations"]
    assert notes["io.kubernetes.cri.container-type"] == notes["io.kubernetes.cri-o.ContainerType"] == "container"
    assert notes["io.kubernetes.cri.sandbox-id"] == notes["io.kubernetes.cri-o.SandboxID"] == pod[0]
    assert container in [message.id for message in recorded.messages("Wait", shim_pb.task.WaitRequest)]
    node.client.RemoveContainer(container_id=container)
    assert recorded.messages("Delete", shim_pb.task.DeleteRequest)[0].id == container
    node.remove_pod(pod[0])


def test_signals_go_by_way_of_the_shim(fake):
    """What is seen as the container's process is the machine's: it must not get them."""
    node, recorded = fake()
    pod = pod_of(node)
    container = node.run(pod, ["wait"])
    assert node.status(container).state == RUNNING
    node.stop(container, timeout=60)
    assert node.status(container).exit_code == 143
    kill = recorded.messages("Kill", shim_pb.task.KillRequest)[0]
    assert (kill.id, kill.exec_id, kill.signal) == (container, "", signal.SIGTERM)
    other = node.run(pod, ["wait"], name="other")
    node.stop(other, timeout=0)
    assert node.status(other).exit_code == 137
    node.remove_pod(pod[0])


def test_a_command(fake):
    node, recorded = fake()
    pod = pod_of(node)
    container = node.run(pod, ["wait"])
    done = node.exec(container, "echo", "in the guest")
    assert (done.stdout, done.exit_code) == (b"guest runs echo in the guest\nin the guest\n", 0)
    message = recorded.messages("Exec", shim_pb.task.ExecProcessRequest)[0]
    assert message.id == container and message.exec_id and not message.terminal
    assert message.spec.type_url == "types.containerd.io/opencontainers/runtime-spec/1/Process"
    process = json.loads(message.spec.value)
    assert process["args"] == ["echo", "in the guest"] and process["cwd"] == "/"
    ended = recorded.messages("Delete", shim_pb.task.DeleteRequest)[0]
    assert (ended.id, ended.exec_id) == (container, message.exec_id)
    assert not [name for name in os.listdir(f"{node.daemon.run}/containers/{container}") if "crisp-exec" in name]
    error_of(lambda: node.exec(container, "wait", timeout=1), StatusCode.DEADLINE_EXCEEDED)
    kill = recorded.messages("Kill", shim_pb.task.KillRequest)[0]
    assert kill.exec_id and kill.signal == signal.SIGKILL
    node.remove_pod(pod[0])


def test_what_a_terminal_still_has_when_its_command_has_ended(fake):
    node, recorded = fake()
    pod = pod_of(node)
    container = node.run(pod, ["wait"])
    session = run(node, container, ["late", "last words"], tty=True, stdin=True)
    out, _, status = session.wait()
    assert (out, json.loads(status)["status"]) == (b"guest runs late last words\nlast words\n", "Success")
    wait_for(lambda: recorded.messages("CloseIO", shim_pb.task.CloseIORequest), "its input's end")
    node.remove_pod(pod[0])


def test_a_guests_out_of_memory_kill(fake):
    node, recorded = fake()
    pod = pod_of(node)
    status = node.wait_exit(node.run(pod, ["oom"]))
    assert (status.exit_code, status.reason) == (137, "OOMKilled")
    node.remove_pod(pod[0])


def test_what_is_in_a_guest_is_not_verified(fake):
    """What the host sees is the machine's process: to hold that against the specification would tell nonsense."""
    node, recorded = fake()
    pod = pod_of(node)
    container = node.run(pod, ["wait"])

    def crisp(verb):
        words = [node.daemon.crisp, verb, container, "--socket", node.daemon.socket]
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    shown = json.loads(crisp("inspect").stdout)
    assert shown["handler"]["name"] == "vm" and shown["state"] == "running" and "kernel" not in shown
    done = crisp("verify")
    assert done.returncode == 1 and "runtime handler vm runs it in a machine of its own" in done.stderr
    node.remove_pod(pod[0])


def test_limits(fake):
    node, recorded = fake()
    pod = pod_of(node)
    container = node.run(pod, ["wait"])
    node.client.UpdateContainerResources(container_id=container, linux={"memory_limit_in_bytes": 64 << 20})
    update = recorded.messages("Update", shim_pb.task.UpdateTaskRequest)[0]
    assert update.id == container
    assert update.resources.type_url == "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
    assert json.loads(update.resources.value)["memory"]["limit"] == 64 << 20
    node.remove_pod(pod[0])


def test_what_the_shim_refuses_is_told(fake):
    node, recorded = fake()
    pod = pod_of(node)
    container = node.create(pod, ["fail"])
    assert 'the guest has no room: "none"' in error_of(lambda: node.start(container), StatusCode.UNKNOWN)
    assert (node.status(container).state, node.status(container).reason) == (EXITED, "StartError")
    node.remove_pod(pod[0])


def test_a_dead_machine(fake):
    """Its program is run once for each container and for the pod, with the bundle, to clean up."""
    node, recorded = fake()
    pod = pod_of(node)
    container = node.run(pod, ["wait"])
    pid = shim_of(pod[0])
    os.kill(pid, signal.SIGKILL)
    assert node.wait_exit(container).exit_code == 255
    wait_for(lambda: node.pod_status(pod[0]).state == NOTREADY, "the pod not to be ready")
    node.remove_pod(pod[0])
    deleted = {entry["arguments"][entry["arguments"].index("-id") + 1]: entry for entry in recorded.all() if entry["what"] == "delete"}
    assert set(deleted) == {container, pod[0]}
    for identity, entry in deleted.items():
        bundle = entry["arguments"][entry["arguments"].index("-bundle") + 1]
        assert os.path.realpath(bundle) == entry["cwd"]


@pytest.mark.parametrize("answer, api", [("json3", False), ("json3,sandbox", True)], ids=["container", "sandbox-api"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
def test_a_machine_that_dies_while_its_shim_lives(fake, answer, api, restarted):
    """The shim is asked for the sandbox's end, on each connection; what is left can be stopped and removed."""
    node, recorded = fake(answer, shim_sandbox_api=str(api).lower())
    pod = pod_of(node)
    container = node.run(pod, ["wait"])
    if restarted:
        node.daemon.restart()
        wait_for(lambda: recorded.methods().count("WaitSandbox" if api else "Wait") >= (2 if api else 3), "the end to be asked for again")
    os.kill(shim_of(pod[0]), signal.SIGUSR1)
    wait_for(lambda: node.pod_status(pod[0]).state == NOTREADY, "the pod not to be ready")
    error_of(lambda: node.create(pod, ["exit", "0"], name="late"), StatusCode.FAILED_PRECONDITION)
    assert node.status(container).state == RUNNING
    node.client.StopPodSandbox(pod_sandbox_id=pod[0])
    assert node.status(container).exit_code == 137
    node.client.RemovePodSandbox(pod_sandbox_id=pod[0])


def test_the_sandbox_api(fake):
    """In place of a container that stands for the pod; the pod's containers are the same."""
    node, recorded = fake("json3,sandbox", shim_sandbox_api="true")
    pod = pod_of(node, annotations={"of.the": "pod"})
    container = node.run(pod, ["exit", "7"])
    assert node.wait_exit(container).exit_code == 7
    create = recorded.messages("CreateSandbox", shim_pb.sandbox.CreateSandboxRequest)[0]
    config = recorded.one(what="start")["config"]
    assert (create.sandbox_id, create.bundle_path) == (pod[0], recorded.one(what="start")["cwd"])
    assert create.netns_path == next(n["path"] for n in config["linux"]["namespaces"] if n["type"] == "network")
    assert dict(create.annotations) == config["annotations"] and create.annotations["of.the"] == "pod"
    assert create.options.type_url == "runtime.v1.PodSandboxConfig"
    said = cri.pb.PodSandboxConfig.FromString(create.options.value)
    assert (said.metadata.name, said.annotations["of.the"]) == (pod[1]["metadata"]["name"], "pod")
    assert not create.rootfs
    assert recorded.messages("StartSandbox", shim_pb.sandbox.StartSandboxRequest)[0].sandbox_id == pod[0]
    wait_for(lambda: "WaitSandbox" in recorded.methods(), "its end to be asked for")
    assert [message.id for message in recorded.messages("Create", shim_pb.task.CreateTaskRequest)] == [container]
    node.remove_pod(pod[0])
    assert recorded.messages("StopSandbox", shim_pb.sandbox.StopSandboxRequest)[0].timeout_secs
    assert recorded.messages("ShutdownSandbox", shim_pb.sandbox.ShutdownSandboxRequest)[0].sandbox_id == pod[0]
    assert "Shutdown" not in recorded.methods() and "delete" not in recorded.methods()


def test_a_shim_without_the_sandbox_api(fake):
    node, recorded = fake("json3", shim_sandbox_api="true")
    words = error_of(lambda: pod_of(node), StatusCode.FAILED_PRECONDITION)
    assert "has no sandbox API: take shim_sandbox_api out" in words and "handler vm" in words


def test_the_daemon_comes_back(fake):
    node, recorded = fake()
    pod = pod_of(node)
    container = node.run(pod, ["wait"])
    node.daemon.restart()
    assert node.status(container).state == RUNNING
    assert node.exec(container, "echo", "still here").exit_code == 0
    node.stop(container, timeout=60)
    assert node.status(container).exit_code == 143
    assert recorded.methods().count("start") == 1
    node.remove_pod(pod[0])


def shim_of(pod):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if FAKE.encode() in words and pod.encode() in words:
            return int(pid)
    raise AssertionError("no shim runs")


def stats_of(node, container):
    return node.client.ContainerStats(container_id=container).stats


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_statistics_of_a_guest(fake, version):
    """What the shim tells of the guest's cgroup, of either version, in place of what the host sees."""
    node, recorded = fake()
    pod = pod_of(node)
    container = node.run(pod, ["wait", version])
    stats = stats_of(node, container)
    assert stats.cpu.usage_core_nano_seconds.value == 7 * 10**9
    assert stats.memory.usage_bytes.value == 300 << 20
    assert stats.memory.working_set_bytes.value == 200 << 20
    assert stats.memory.available_bytes.value == 312 << 20
    assert stats.memory.rss_bytes.value == 150 << 20
    assert (stats.memory.page_faults.value, stats.memory.major_page_faults.value) == (9000, 9)
    assert recorded.messages("Stats", shim_pb.task.StatsRequest)[0].id == container
    listed = node.client.ListContainerStats(filter={"id": container}).stats[0]
    assert listed.memory.working_set_bytes.value == 200 << 20
    node.remove_pod(pod[0])


def test_a_guest_without_statistics(fake):
    """The host's cgroup counts, which the fake makes none of; the rest is told, and the shim is not asked again."""
    node, recorded = fake()
    pod = pod_of(node)
    container = node.run(pod, ["wait", "silent"])
    for _ in range(2):
        stats = stats_of(node, container)
        assert stats.attributes.id == container and not stats.cpu.usage_core_nano_seconds.value
    wait_for(lambda: stats_of(node, container).writable_layer.used_bytes.value, "its writable layer to be measured")
    assert recorded.methods().count("Stats") == 1
    node.remove_pod(pod[0])


def test_a_guest_whose_statistics_hang(fake):
    """Others' are told nevertheless, and for a while it is not asked again."""
    node, recorded = fake()
    pod = pod_of(node)
    hangs, fine = node.run(pod, ["wait", "hang"], name="hangs"), node.run(pod, ["wait", "v2"], name="fine")
    for _ in range(2):
        told = {stats.attributes.id: stats for stats in node.client.ListContainerStats().stats}
        assert told[fine].memory.working_set_bytes.value == 200 << 20
        assert not told[hangs].memory.working_set_bytes.value
    asked = [message.id for message in recorded.messages("Stats", shim_pb.task.StatsRequest)]
    assert (asked.count(hangs), asked.count(fine)) == (1, 2)
    node.remove_pod(pod[0])
