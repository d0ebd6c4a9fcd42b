"""The daemon is killed at every step; after the next start all is there, and nothing twice."""
import glob
import json
import os
import shutil
import signal
import subprocess
import threading
import time

import grpc
import pytest
from kit import hostile, leaks
from kit.hostile import HostileRegistry
from kit.image import Image, Layer
from kit.wait import wait_for
from recorder import Recorder
from support import CONTAINER, CREATED, EXITED, KINDS, NOTREADY, POD, READY, RUNNING, Node, parse_log


@pytest.fixture
def node(own_node):
    """Each of these tests kills its own daemon."""
    return own_node()


COUNT = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done"


def everything(node):
    """All that a client can see, but the times at which it looked."""
    client = node.client
    pods = client.ListPodSandbox().items
    containers = client.ListContainers().containers
    return (
        sorted(str(p) for p in pods),
        sorted(str(c) for c in containers),
        sorted(str(i) for i in client.ListImages().images),
        {p.id: str(client.PodSandboxStatus(pod_sandbox_id=p.id).status) for p in pods},
        {c.id: str(client.ContainerStatus(container_id=c.id).status) for c in containers},
    )


def test_all_is_as_it_was(node):
    pod = node.pod(labels={"a": "b"}, annotations={"c": "d"}, linux=node.namespaces(pid=POD))
    other = node.pod()
    running = node.sleeper(pod, name="running", labels={"x": "y"})
    node.create(pod, ["true"], name="created")
    node.wait_exit(node.sh(other, "exit 3", name="exited"))
    failed = node.create(other, ["/no/such"], name="failed")
    with pytest.raises(grpc.RpcError):
        node.start(failed)
    stopped = node.pod()
    node.client.StopPodSandbox(pod_sandbox_id=stopped[0])
    before = everything(node)
    process = node.pid_of(running)
    for stop in (node.daemon.kill, node.daemon.terminate):
        stop()
        node.daemon.start()
        assert everything(node) == before
        assert node.pid_of(running) == process
    assert node.exec_sh(running, "echo alive") == "alive\n"


def test_containers_and_logs_do_not_notice(node):
    container = node.sh(node.pod(), COUNT)
    node.wait_log(container, "5")
    path = node.log_file(container)
    for _ in range(3):
        node.daemon.kill()
        before = len(parse_log(path))
        wait_for(lambda: len(parse_log(path)) > before + 10, "the log to grow without a daemon")
        node.daemon.start()
    node.stop(container)
    numbers = [int(data) for _, _, data in parse_log(path)]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("code", [0, 42])
def test_what_ended_while_the_daemon_was_down(node, code):
    pod = node.pod()
    volume = f"{node.daemon.root}/logs/volume"
    os.makedirs(volume)
    script = f"while [ ! -e /v/go ]; do sleep 0.05; done; echo bye; exit {code}"
    container = node.sh(pod, script, mounts=[{"container_path": "/v", "host_path": volume}])
    process = node.pid_of(container)
    path = node.log_file(container)
    node.daemon.kill()
    with open(f"{volume}/go", "w"):
        pass
    wait_for(lambda: not os.path.exists(f"/proc/{process}"), "the container to end")
    wait_for(lambda: any(d == b"bye" for _, _, d in parse_log(path)), "the log")
    time.sleep(0.2)
    ended = time.time_ns()
    node.daemon.start()
    status = node.status(container)
    assert (status.state, status.exit_code) == (EXITED, code)
    assert status.reason == ("Error" if code else "Completed")
    assert status.started_at < status.finished_at <= ended
    assert node.text(pod, container) == "bye\n"


def test_what_was_killed_together_with_its_monitor_ended_unseen(node):
    container = node.sleeper(node.pod())
    process = node.pid_of(container)
    with open(f"/proc/{process}/status") as file:
        monitor = int(next(line for line in file if line.startswith("PPid")).split()[1])
    node.daemon.kill()
    os.kill(monitor, signal.SIGKILL)
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{process}"), "the container to end")
    node.daemon.start()
    status = node.wait_exit(container)
    assert (status.exit_code, status.reason) == (255, "Unknown")
    assert status.finished_at and "monitor" in status.message


def test_a_monitor_that_dies_under_a_running_daemon(node):
    container = node.sleeper(node.pod())
    process = node.pid_of(container)
    with open(f"/proc/{process}/status") as file:
        monitor = int(next(line for line in file if line.startswith("PPid")).split()[1])
    os.kill(monitor, signal.SIGKILL)
    status = node.wait_exit(container)
    assert (status.exit_code, status.reason) == (255, "Unknown")
    wait_for(lambda: not os.path.exists(f"/proc/{process}"), "the process without a monitor to be ended")


def test_a_pod_whose_pid_holder_died_while_the_daemon_was_down(node):
    pod = node.pod(linux=node.namespaces(pid=POD))
    container = node.sleeper(pod)
    holder = node.holder_of(pod[0])
    node.daemon.kill()
    os.kill(holder, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{holder}"), "the holder to be gone")
    node.daemon.start()
    assert node.pod_status(pod[0]).state == NOTREADY
    assert [(p.id, p.state) for p in node.client.ListPodSandbox().items] == [(pod[0], NOTREADY)]
    assert node.wait_exit(container).exit_code == 137
    # The kubelet makes it anew.
    again = node.run_pod(pod[1])
    assert again != pod[0] and node.pod_status(again).state == READY


def test_stop_and_remove_after_a_restart(node):
    pod = node.pod(linux=node.namespaces(pid=POD))
    container = node.sh(pod, "trap 'exit 9' TERM; echo up; while :; do sleep 1000 & wait $!; done")
    node.wait_log(container, "up")
    node.daemon.restart()
    node.stop(container, timeout=60)
    assert node.status(container).exit_code == 9
    node.daemon.restart()
    node.remove_pod(pod[0])


def test_exec_reopen_and_new_containers_after_a_restart(node):
    pod = node.pod()
    container = node.sh(pod, COUNT)
    node.daemon.restart()
    path = node.log_file(container)
    wait_for(lambda: os.path.exists(path), "a log")
    os.rename(path, path + ".1")
    node.client.ReopenContainerLog(container_id=container)
    wait_for(lambda: os.path.exists(path) and os.path.getsize(path), "a new log")
    other = node.sleeper(pod, name="other")
    assert os.readlink(f"/proc/{node.pid_of(other)}/ns/net") == os.readlink(f"/proc/{node.pid_of(container)}/ns/net")


def test_a_created_container_starts_after_a_restart(node):
    pod = node.pod()
    container = node.create(pod, ["echo", "late"])
    node.daemon.restart()
    assert node.status(container).state == CREATED
    node.start(container)
    node.wait_exit(container)
    assert node.text(pod, container) == "late\n"


def interrupted(call):
    """The result of a call whose daemon was killed: it may have been answered just before."""
    try:
        return call.result(timeout=60)
    except grpc.RpcError as e:
        assert e.code() in (KINDS.UNAVAILABLE, KINDS.CANCELLED, KINDS.UNKNOWN, KINDS.DEADLINE_EXCEEDED, KINDS.INTERNAL), e
        return None


# Milliseconds after the start of a call at which the daemon is killed; together they meet every step.
MOMENTS = [0, 1, 3, 6, 10, 20, 40, 60, 80, 120, 200]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_during_run_pod_sandbox(node, moment):
    config = node.pod_config(linux=node.namespaces(pid=POD))
    call = node.client.start("RunPodSandbox", config=config)
    time.sleep(moment / 1000)
    node.daemon.kill()
    interrupted(call)
    node.daemon.start()
    assert len(node.client.ListPodSandbox().items) <= 1
    pod = node.run_pod(config)
    assert node.pod_status(pod).state == READY
    wait_for(lambda: [p.id for p in node.client.ListPodSandbox().items] == [pod], "half a pod to be gone")
    assert node.wait_exit(node.sh((pod, config), "ip addr show eth0 | grep -q inet")).exit_code == 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_during_create_and_start(node, moment):
    pod = node.pod()
    os.makedirs(f"{pod[1]['log_directory']}/main")
    config = node.container_config(["/bin/sh", "-c", "echo ran; exec sleep 1000"])
    create = dict(pod_sandbox_id=pod[0], config=config, sandbox_config=pod[1])
    if moment % 2:
        call = node.client.start("CreateContainer", **create)
    else:
        container = node.client.CreateContainer(**create).container_id
        call = node.client.start("StartContainer", container_id=container)
    time.sleep(moment / 1000)
    node.daemon.kill()
    interrupted(call)
    node.daemon.start()
    containers = node.client.ListContainers().containers
    assert len(containers) <= 1
    for container in containers:
        status = node.status(container.id)
        assert status.state in (CREATED, RUNNING, EXITED)
        if status.state == RUNNING:
            assert node.exec(container.id, "true").exit_code == 0
        if status.state == EXITED:
            assert status.reason and status.finished_at
    # The pod goes on to work.
    node.sleeper(pod, name="after")


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_during_stop_and_remove(node, moment):
    pod = node.pod(linux=node.namespaces(pid=POD))
    container = node.sleeper(pod)
    name, fields = [
        ("StopContainer", {"container_id": container, "timeout": 10}),
        ("RemoveContainer", {"container_id": container}),
        ("StopPodSandbox", {"pod_sandbox_id": pod[0]}),
        ("RemovePodSandbox", {"pod_sandbox_id": pod[0]}),
    ][moment % 4]
    call = node.client.start(name, **fields)
    time.sleep(moment / 1000)
    node.daemon.kill()
    interrupted(call)
    node.daemon.start()
    getattr(node.client, name)(**fields)
    node.remove_pod(pod[0])
    assert not node.client.ListPodSandbox().items
    assert not node.client.ListContainers().containers


@pytest.fixture
def hung():
    """What a script of a test waits with; it outlives the daemon that is killed, and ends with the test."""
    seconds = str(100000 + os.getpid())
    yield f"exec sleep {seconds}"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                if file.read().split("\0")[:2] == ["sleep", seconds]:
                    os.kill(int(pid), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass


def test_killed_while_a_plugin_hangs(own_daemon, busybox, hung):
    daemon = own_daemon(start=False, network=False)
    recorder = Recorder(daemon)
    daemon.write_network({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "recorder"}]})
    node = Node(daemon.start(), busybox)
    recorder.behave("ADD", f"echo > {recorder.folder}/here; {hung}\n")
    call = node.client.start("RunPodSandbox", config=node.pod_config("hung"))
    wait_for(lambda: os.path.exists(f"{recorder.folder}/here"), "the plugin")
    daemon.kill()
    interrupted(call)
    recorder.forget("ADD")
    daemon.start()
    wait_for(lambda: recorder.calls("DEL"), "what the plugin began to be undone")
    pod = node.run_pod(node.pod_config("hung"))
    assert node.pod_status(pod).state == READY


def test_killed_during_a_pull(node):
    with HostileRegistry() as registry:
        data = os.urandom(4 << 20)
        built = Image([Layer("tar").file("first", data), Layer("tar").file("second", data[::-1])])
        name = registry.put("a/b", "1", built)
        slow = built.layers[1].digest
        released = threading.Event()

        def hang_up(request):
            request.send_response(200)
            request.send_header("Content-Length", str(len(built.layers[1].data)))
            request.end_headers()
            released.wait(600)
            request.close_connection = True
        registry.rule = hostile.on(slow, hang_up)
        call = node.client.start("PullImage", image={"image": name})
        wait_for(lambda: registry.seen(slow), "the download")
        node.daemon.kill()
        interrupted(call)
        registry.rule = None
        node.daemon.start()
        released.set()
        assert node.image_status(name) is None
        node.pull(name)
        assert node.image_status(name).id == built.id
        node.client.RemoveImage(image={"image": name})
    def helpers():
        return [words for _, words in leaks.processes(node.daemon) if "crisp-image" in words]
    wait_for(lambda: not helpers(), "the helper of the killed daemon to end")


def reboot(daemon):
    """Everything that a reboot takes away: processes, mounts, /run, interfaces, cgroups."""
    daemon.kill()
    # The monitors go first: what they would still see, nobody sees in a power cut.
    for pid, words in list(leaks.processes(daemon)):
        if "crisp-monitor" in words:
            os.kill(pid, signal.SIGKILL)
    leaks.force(daemon)
    subprocess.run(["rm", "-rf", daemon.run], check=True)
    # The kernel names each boot anew; here the records are made to name an earlier one.
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    for path in glob.glob(f"{daemon.state}/*/*/record.json"):
        with open(path) as file:
            text = file.read()
        with open(path, "w") as file:
            file.write(text.replace(boot, "00000000-0000-4000-8000-000000000000"))
    os.makedirs(daemon.run)


def test_a_reboot(node):
    pod = node.pod(linux=node.namespaces(pid=POD))
    running = node.sleeper(pod, name="running")
    exited = node.sh(pod, "exit 3", name="exited")
    node.wait_exit(exited)
    reboot(node.daemon)
    node.daemon.start()
    assert node.pod_status(pod[0]).state == NOTREADY
    status = node.status(running)
    assert (status.state, status.exit_code, status.reason) == (EXITED, 255, "Unknown")
    assert status.finished_at and "the machine went down" in status.message
    assert parse_log(node.log_file(running))
    status = node.status(exited)
    assert (status.state, status.exit_code, status.reason) == (EXITED, 3, "Error")
    assert node.image_status(node.image)
    again = node.run_pod(pod[1])
    assert again != pod[0]
    assert node.wait_exit(node.sh((again, pod[1]), "exit 0", name="new")).exit_code == 0
    node.remove_pod(pod[0])


def spoil(path):
    with open(path) as file:
        good = file.read()
    with open(path, "w") as file:
        file.write(good[: len(good) // 2])


def running_of(daemon, *ids):
    return [words for _, words in leaks.processes(daemon) if any(i in words for i in ids)]


def take_aside(daemon):
    """Removes what was set aside for a person to look at, and returns the names."""
    names = []
    for kind in ("pods", "containers"):
        for name in os.listdir(f"{daemon.state}/{kind}"):
            if name.startswith("aside-"):
                assert os.path.exists(f"{daemon.state}/{kind}/{name}/reason")
                shutil.rmtree(f"{daemon.state}/{kind}/{name}")
                names.append(name)
    return names


def test_a_container_whose_record_cannot_be_read_is_set_aside_and_ended(node):
    pod = node.pod()
    container = node.sh(pod, "setsid sleep 4341 & sleep 4342")
    other = node.sleeper(pod, name="other")
    node.daemon.kill()
    spoil(record_of(node, container))
    node.daemon.start()
    assert node.status(other).state == RUNNING
    assert [c.id for c in node.client.ListContainers().containers] == [other]
    wait_for(lambda: not running_of(node.daemon, container, "sleep 434"), "nothing to run unseen")
    wait_for(lambda: not os.path.exists(f"{node.daemon.run}/containers/{container}"), "its run folder to be gone")
    assert take_aside(node.daemon) == [f"aside-{container}"]
    assert container in node.daemon.log_text()
    # The kubelet makes it anew.
    node.sleeper(pod, name="main")


@pytest.mark.parametrize("pid", [CONTAINER, POD])
def test_a_pod_whose_record_cannot_be_read_is_set_aside_and_ended(node, pid):
    pod = node.pod(linux=node.namespaces(pid=pid))
    container = node.sh(pod, "setsid sleep 4343 & sleep 4344")
    other = node.pod()
    node.daemon.kill()
    spoil(f"{node.daemon.state}/pods/{pod[0]}/record.json")
    node.daemon.start()
    assert [p.id for p in node.client.ListPodSandbox().items] == [other[0]]
    assert not node.client.ListContainers().containers
    wait_for(lambda: not running_of(node.daemon, pod[0], container, "sleep 434"), "nothing to run unseen")
    assert sorted(take_aside(node.daemon)) == sorted([f"aside-{pod[0]}", f"aside-{container}"])
    # That nothing is left is looked at after each test: processes, mounts, cgroups, addresses.
    again = node.run_pod(pod[1])
    assert again != pod[0]


def record_of(node, container):
    return f"{node.daemon.state}/containers/{container}/record.json"


def test_an_ended_container_stays_ended_whenever_the_daemon_was_killed(node):
    container = node.sleeper(node.pod())
    # The daemon is killed after it has noted the start in the run folder, and before it has in the state folder.
    node.daemon.kill()
    with open(record_of(node, container)) as file:
        record = json.load(file)
    with open(record_of(node, container), "w") as file:
        json.dump({**record, "phase": "created"}, file)
    node.daemon.start()
    assert node.status(container).state == RUNNING
    node.stop(container)
    ended = node.status(container)
    wait_for(lambda: not os.path.exists(f"{node.daemon.run}/containers/{container}"), "the cleaning up")
    node.daemon.kill()
    node.daemon.start()
    assert str(node.status(container)) == str(ended)


def test_a_retry_of_what_is_being_dropped_waits_for_its_end(node):
    pod = node.pod()
    config = node.container_config(["true"])
    create = dict(pod_sandbox_id=pod[0], config=config, sandbox_config=pod[1])
    container = node.client.CreateContainer(**create).container_id
    node.daemon.kill()
    with open(record_of(node, container)) as file:
        record = json.load(file)
    with open(record_of(node, container), "w") as file:
        json.dump({**record, "phase": "creating"}, file)
    # So that dropping it takes a while.
    folder = f"{node.daemon.state}/containers/{container}/many"
    os.mkdir(folder)
    for i in range(60000):
        os.close(os.open(f"{folder}/{i}", os.O_CREAT | os.O_WRONLY))
    node.daemon.start()
    made = node.client.CreateContainer(**create).container_id
    assert made != container and node.status(made).state == CREATED


def test_a_pod_that_was_being_stopped_is_not_ready(own_daemon, busybox, hung):
    from support import Node

    daemon = own_daemon(start=False, network=False)
    recorder = Recorder(daemon)
    daemon.write_network({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "recorder"}]})
    node = Node(daemon.start(), busybox)
    pod = node.run_pod()
    recorder.behave("DEL", f"echo > {recorder.folder}/here; {hung}\n")
    call = node.client.start("StopPodSandbox", pod_sandbox_id=pod)
    wait_for(lambda: os.path.exists(f"{recorder.folder}/here"), "the plugin")
    daemon.kill()
    interrupted(call)
    recorder.forget("DEL")
    daemon.start()
    assert node.pod_status(pod).state == NOTREADY
    node.remove_pod(pod)


HALF_A_RUNTIME = """#!/bin/sh
for word; do case $word in
start) echo 'no start today' >&2; exit 9;;
delete) [ -f {folder}/stuck ] && {hung};;
esac; done
exec {path} "$@"
"""


def test_a_failed_start_keeps_its_reason(own_daemon, busybox, handler, hung):
    from support import Node

    daemon = own_daemon(start=False)
    path = f"{daemon.root}/half-a-runtime"
    with open(path, "w") as file:
        file.write(HALF_A_RUNTIME.format(folder=daemon.root, hung=hung, path=daemon.runtime))
    os.chmod(path, 0o755)
    with open(f"{daemon.root}/stuck", "w"):
        pass
    daemon.write_config(extra={"runtime.handlers.half": f'kind = "oci"\npath = "{path}"\n'})
    node = Node(daemon.start(), busybox)
    config = node.pod_config()
    pod = (node.run_pod(config, handler="half"), config)
    container = node.create(pod, ["true"])
    with pytest.raises(grpc.RpcError):
        node.start(container)
    failed = node.status(container)
    assert (failed.state, failed.exit_code, failed.reason) == (EXITED, 128, "StartError")
    daemon.kill()
    os.unlink(f"{daemon.root}/stuck")
    daemon.start()
    assert str(node.status(container)) == str(failed)
    wait_for(lambda: not os.path.exists(f"{daemon.run}/containers/{container}"), "the cleaning up")
    daemon.restart()
    assert str(node.status(container)) == str(failed)


WAITING_RUNTIME = """#!/bin/sh
for word; do case $word in
start) echo $$ > {folder}/starting.new; mv {folder}/starting.new {folder}/starting; while [ ! -e {folder}/go ]; do sleep 0.05; done;;
state) [ -e {folder}/mute ] && exit 1;;
esac; done
exec {path} "$@"
"""


class Starting:
    """A container that its runtime has made and is asked to start, which waits for a file; then the daemon is killed."""

    def __init__(self, daemon, busybox):
        self.daemon = daemon
        path = f"{daemon.root}/waiting-runtime"
        with open(path, "w") as file:
            file.write(WAITING_RUNTIME.format(folder=daemon.root, path=daemon.runtime))
        os.chmod(path, 0o755)
        daemon.write_config(extra={"runtime.handlers.waiting": f'kind = "oci"\npath = "{path}"\n'})
        self.node = node = Node(daemon.start(), busybox)
        config = node.pod_config()
        pod = node.run_pod(config, handler="waiting"), config
        self.container = node.create(pod, ["/bin/sh", "-c", "echo ran; exec sleep 1000"])
        self.log = node.log_file(self.container)
        call = node.client.start("StartContainer", container_id=self.container)
        wait_for(lambda: os.path.exists(f"{daemon.root}/starting"), "the runtime's start")
        daemon.kill()
        interrupted(call)

    def touch(self, name):
        open(f"{self.daemon.root}/{name}", "w").close()

    def has_run(self):
        return os.path.exists(self.log) and any(data == b"ran" for _, _, data in parse_log(self.log))


def test_what_was_made_and_not_started_when_the_daemon_was_killed_never_runs(own_daemon, busybox):
    """Nothing that a daemon does between the two can be missing from a container that runs."""
    starting = Starting(own_daemon(start=False), busybox)
    node, container = starting.node, starting.container
    with open(f"{starting.daemon.run}/containers/{container}/pid") as file:
        process = file.read().strip()
    assert os.path.exists(f"/proc/{process}")
    starting.daemon.start()
    status = node.wait_exit(container)
    assert status.reason == "StartError" and "being started" in status.message and status.finished_at and not status.started_at
    wait_for(lambda: not os.path.exists(f"/proc/{process}"), "what the runtime made to be gone")
    # The start that was under way finds nothing any more.
    starting.touch("go")
    with open(f"{starting.daemon.root}/starting") as file:
        runtime = file.read().strip()
    wait_for(lambda: not os.path.exists(f"/proc/{runtime}"), "the runtime's start to end")
    assert not starting.has_run()
    starting.daemon.restart()
    assert str(node.status(container)) == str(status)


def test_what_started_without_the_daemon_runs_for_all_later_ones(own_daemon, busybox):
    starting = Starting(own_daemon(start=False), busybox)
    node, container = starting.node, starting.container
    starting.touch("go")
    wait_for(starting.has_run, "the container to run")
    starting.daemon.start()
    wait_for(lambda: node.status(container).state == RUNNING, "the daemon to find that it runs")
    found = node.status(container)
    assert found.started_at > found.created_at
    with_record = f"{starting.daemon.run}/containers/{container}/record.json"
    wait_for(lambda: '"running"' in open(with_record).read(), "that to be written down")
    starting.daemon.kill()
    # It is known to run: there is nothing to ask, and no answer can mean its end.
    starting.touch("mute")
    starting.daemon.start()
    assert node.status(container).state == RUNNING
    os.unlink(f"{starting.daemon.root}/mute")
    assert node.exec(container, "true").exit_code == 0
    assert str(node.status(container)) == str(found)


def test_a_container_whose_handler_the_configuration_lost(own_daemon, busybox):
    from support import Node

    daemon = own_daemon(start=False)
    daemon.write_config(extra={"runtime.handlers.late": daemon.handler_config()})
    node = Node(daemon.start(), busybox)
    config = node.pod_config()
    pod = (node.run_pod(config, handler="late"), config)
    container = node.sleeper(pod)
    daemon.kill()
    daemon.write_config(extra={})
    daemon.start()
    with pytest.raises(grpc.RpcError) as failure:
        node.exec(container, "true")
    assert failure.value.code() == KINDS.FAILED_PRECONDITION and "late" in failure.value.details()
    assert node.status(container).state == RUNNING
    daemon.kill()
    daemon.write_config(extra={"runtime.handlers.late": daemon.handler_config()})
    daemon.start()
    assert node.exec(container, "true").exit_code == 0
    node.remove_pod(pod[0])
