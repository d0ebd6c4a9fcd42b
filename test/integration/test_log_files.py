"""The files of a container's log: rotated by a kubelet or by the monitor, refused, lost, and copied to journald."""
import gzip
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest
from kit.wait import wait_for
from support import KINDS, RUNNING, error_of, parse_log

STAMP = re.compile(r"0\.log\.\d{8}-\d{6}")


def metric(node, name, **labels):
    text = subprocess.run([node.daemon.crisp, "metrics", "--socket", node.daemon.socket],
                          stdout=subprocess.PIPE, text=True, check=True, timeout=120).stdout
    wanted = name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else "") + " "
    return next(float(line[len(wanted):]) for line in text.splitlines() if line.startswith(wanted))


def numbers_in(paths):
    return [int(data) for path in paths for _, _, data in parse_log(path)]


def test_nothing_is_lost_while_a_writer_at_full_speed_is_rotated(node):
    """A kubelet renames and asks for a new file, over and over, beside a container that never pauses."""
    lines = 1000000
    container = node.sh(node.pod(), f"seq 1 {lines}")
    path = node.log_file(container)
    moved = []
    while node.status(container).state == RUNNING and len(moved) < 200:
        target = f"{path}.moved{len(moved)}"
        os.rename(path, target)
        moved.append(target)
        try:
            node.client.ReopenContainerLog(container_id=container)
        except Exception:  # it has just ended: the kubelet puts the log back
            assert node.wait_exit(container).exit_code == 0
            os.rename(target, path)
            moved.pop()
    assert node.wait_exit(container, 300).exit_code == 0
    assert len(moved) >= 3, "the writer was faster than the rotations"
    assert numbers_in([*moved, path]) == list(range(1, lines + 1))


def test_both_streams_keep_their_order_over_rotations(node):
    container = node.sh(node.pod(), "(seq 1 60000 >&2) & seq 1 60000; wait")
    path = node.log_file(container)
    moved = []
    for i in range(5):
        try:
            os.rename(path, f"{path}.{i}")
            node.client.ReopenContainerLog(container_id=container)
            moved.append(f"{path}.{i}")
        except Exception:
            node.wait_exit(container)
            os.rename(f"{path}.{i}", path)
            break
    node.wait_exit(container, 120)
    found = [line for file in [*moved, path] for line in parse_log(file)]
    for stream in "stdout", "stderr":
        assert [int(data) for name, _, data in found if name == stream] == list(range(1, 60001))


def test_a_failed_reopen_makes_no_file_and_keeps_the_log(node):
    container = node.sh(node.pod(), "n=0; while :; do n=$((n+1)); echo $n; sleep 0.02; done")
    path = node.log_file(container)
    folder = os.path.dirname(path)
    wait_for(lambda: os.path.exists(path) and os.path.getsize(path), "a log")
    os.rename(folder, folder + ".away")
    error_of(lambda: node.client.ReopenContainerLog(container_id=container), *set(KINDS) - {KINDS.OK})
    assert not os.path.exists(folder)
    size = os.path.getsize(f"{folder}.away/0.log")
    wait_for(lambda: os.path.getsize(f"{folder}.away/0.log") > size, "the log to grow")
    os.rename(folder + ".away", folder)
    node.stop(container)


def test_a_log_that_is_a_symlink_is_not_written_through(node):
    pod = node.pod()
    victim = f"{node.daemon.root}/victim"
    container = node.create(pod, ["/bin/sh", "-c", "echo hello"])
    path = f"{pod[1]['log_directory']}/main/0.log"
    os.symlink(victim, path)
    message = error_of(lambda: node.start(container), *set(KINDS) - {KINDS.OK})
    assert "open the log" in message and path in message
    assert not os.path.exists(victim)
    # Nor where it becomes one while the container runs.
    running = node.sleeper(pod, name="second")
    path = node.log_file(running)
    os.rename(path, path + ".1")
    os.symlink(victim, path)
    error_of(lambda: node.client.ReopenContainerLog(container_id=running), *set(KINDS) - {KINDS.OK})
    assert not os.path.exists(victim)
    os.unlink(path)
    node.client.ReopenContainerLog(container_id=running)
    assert os.path.exists(path)


def test_a_missing_folder_of_the_log_is_made(node):
    pod = node.pod()
    container = node.create(pod, ["echo", "here"])
    shutil.rmtree(pod[1]["log_directory"])
    node.start(container)
    node.wait_exit(container)
    assert node.text(pod, container) == "here\n"


def test_a_terminals_output_is_in_the_log_as_it_came(node):
    pod = node.pod()
    container = node.sh(pod, "printf 'one\\ntwo\\r\\n\\033[1mbold'", tty=True)
    node.wait_exit(container)
    assert node.log(container) == [("stdout", "F", b"one\r"), ("stdout", "F", b"two\r\r"), ("stdout", "P", b"\x1b[1mbold")]


# ---- a bound of our own ----

def test_a_log_keeps_within_its_bound(own_node):
    bound, files = 65536, 3
    node = own_node(config={"runtime": f"log_size_max = {bound}\nlog_files_max = {files}\n"})
    container = node.sh(node.pod(), "seq 1 100000")
    assert node.wait_exit(container, 120).exit_code == 0
    path = node.log_file(container)
    folder = os.path.dirname(path)
    old = sorted(name for name in os.listdir(folder) if name != "0.log")
    assert len(old) == files - 1 and all(STAMP.fullmatch(name) for name in old), old
    assert all(os.path.getsize(f"{folder}/{name}") <= bound for name in [*old, "0.log"])
    assert all(os.path.getsize(f"{folder}/{name}") > bound // 2 for name in old)
    numbers = numbers_in([f"{folder}/{name}" for name in [*old, "0.log"]])
    assert numbers == list(range(numbers[0], 100001)), "a line between the first that was kept and the last is missing"


def test_one_file_alone(own_node):
    node = own_node(config={"runtime": "log_size_max = 65536\nlog_files_max = 1\n"})
    container = node.sh(node.pod(), "seq 1 100000")
    node.wait_exit(container, 120)
    path = node.log_file(container)
    assert os.listdir(os.path.dirname(path)) == ["0.log"]
    assert 0 < os.path.getsize(path) <= 65536
    assert numbers_in([path])[-1] == 100000


def test_a_kubelet_that_rotates_too(own_node):
    """Its own rotations, packed files and all, go on beside ours."""
    node = own_node(config={"runtime": "log_size_max = 65536\nlog_files_max = 4\n"})
    container = node.sh(node.pod(), "i=0; while [ $i -lt 60 ]; do i=$((i+1)); seq 1 500; sleep 0.05; done")
    path = node.log_file(container)
    folder = os.path.dirname(path)
    with gzip.open(f"{path}.20200101-000000.gz", "wb") as file:
        file.write(b"old")
    for second in range(3):
        time.sleep(0.3)
        os.rename(path, f"{path}.2020010{second + 2}-000000")
        node.client.ReopenContainerLog(container_id=container)
    node.wait_exit(container, 120)
    names = os.listdir(folder)
    assert len(names) <= 4 and "0.log" in names
    assert "0.log.20200101-000000.gz" not in names
    assert not [name for name in names if name.endswith(".new")]


def test_the_bound_of_a_line(own_node):
    node = own_node(config={"runtime": "log_line_max = 1000\n"})
    container = node.sh(node.pod(), "head -c 2500 /dev/zero | tr '\\0' x; echo; echo short")
    node.wait_exit(container)
    lines = node.log(container)
    assert [(tag, len(data)) for _, tag, data in lines] == [("P", 1000), ("P", 1000), ("F", 500), ("F", 5)]


def test_20_kib_are_two_lines(node):
    container = node.sh(node.pod(), "head -c 20480 /dev/zero | tr '\\0' x; echo")
    node.wait_exit(container)
    assert [(tag, len(data)) for _, tag, data in node.log(container)] == [("P", 16384), ("F", 4096)]


def test_a_full_disk_does_not_hold_the_container_up(own_node):
    node = own_node()
    pod = node.pod()
    folder = pod[1]["log_directory"]
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=True)
    try:
        container = node.sh(pod, "seq 1 100000; sleep 0.2; echo the end")
        assert node.wait_exit(container, 120).exit_code == 0
        numbers = numbers_in([node.log_file(container)])  # and each line that is there is whole
        assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 100
        assert metric(node, "crisp_container_lines_lost_total", to="log") == 100001 - len(numbers)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


# ---- journald ----

class Journald(threading.Thread):
    """A socket in journald's place: what comes, as dictionaries."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(path)
        self.entries = []

    @staticmethod
    def parse(data):
        fields = {}
        while data:
            line, _, rest = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                length = int.from_bytes(rest[:8], "little")
                value, rest = rest[8:8 + length], rest[9 + length:]
            fields[name.decode()] = value
            data = rest
        return fields

    def run(self):
        while True:
            self.entries.append(self.parse(self.socket.recv(1 << 20)))


@pytest.fixture
def journal_path(tmp_path_factory):
    folder = f"/tmp/crt-journal-{os.getpid()}-{time.monotonic_ns()}"
    os.mkdir(folder)
    yield f"{folder}/socket"
    shutil.rmtree(folder)


@pytest.mark.node
def test_a_copy_for_journald(own_node, journal_path):
    journald = Journald(journal_path)
    journald.start()
    node = own_node(config={"runtime": f'log_to_journald = true\njournald_socket = "{journal_path}"\n'})
    pod = node.pod()
    container = node.sh(pod, "echo one; echo two >&2; head -c 20000 /dev/zero | tr '\\0' x; printf '\\nend'", name="talker")
    node.wait_exit(container)
    wait_for(lambda: len(journald.entries) == 5, "the lines to come")
    by_text = {entry["MESSAGE"]: entry for entry in journald.entries}
    meta = pod[1]["metadata"]
    for entry in journald.entries:
        assert entry["CONTAINER_ID_FULL"].decode() == container
        assert entry["CONTAINER_ID"].decode() == container[:12]
        assert entry["CONTAINER_NAME"].decode() == f"k8s_talker_{meta['name']}_{meta['namespace']}_{meta['uid']}_0"
    assert by_text[b"one"]["PRIORITY"] == b"6" and by_text[b"two"]["PRIORITY"] == b"3"
    assert by_text[b"x" * 16384]["CONTAINER_PARTIAL_MESSAGE"] == b"true"
    assert "CONTAINER_PARTIAL_MESSAGE" not in by_text[b"x" * 3616]
    assert by_text[b"end"]["CONTAINER_PARTIAL_MESSAGE"] == b"true"
    assert ("stdout", "F", b"one") in node.log(container), "the log is there as well"


def test_journald_holds_nobody_up(own_node, journal_path):
    """One that does not read, and one that is not there."""
    hung = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hung.bind(journal_path)
    node = own_node(config={"runtime": f'log_to_journald = true\njournald_socket = "{journal_path}"\n'})
    pod = node.pod()
    container = node.sh(pod, "seq 1 20000")
    assert node.wait_exit(container, 120).exit_code == 0
    assert numbers_in([node.log_file(container)]) == list(range(1, 20001))
    lost = metric(node, "crisp_container_lines_lost_total", to="journald")
    assert 0 < lost < 20000
    hung.close()
    os.unlink(journal_path)
    container = node.sh(pod, "seq 1 10", name="second")
    assert node.wait_exit(container).exit_code == 0
    assert metric(node, "crisp_container_lines_lost_total", to="journald") == lost + 10


# ---- in a volume of the pod's ----

@pytest.fixture
def linking(own_node):
    """A node that allows it, with the kubelet's folder somewhere of its own; and what makes a pod with such a volume."""
    folders = []

    def make(allowed=True):
        kubelet = f"/tmp/crt-kubelet-{os.getpid()}-{time.monotonic_ns()}"
        folders.append(kubelet)
        os.makedirs(kubelet)
        lines = f'kubelet_dir = "{kubelet}"\n'
        if allowed:
            lines += 'allowed_annotations = ["link-logs.crio.io"]\n'
        node = own_node(config={"runtime": lines})

        def pod(key="link-logs.crio.io", volume="logs", made=True):
            config = node.pod_config(annotations={key: volume})
            path = f"{kubelet}/pods/{config['metadata']['uid']}/volumes/kubernetes.io~empty-dir/{volume}"
            if made:
                os.makedirs(path)
            return config, path
        return node, pod
    yield make
    for folder in folders:
        shutil.rmtree(folder)


@pytest.mark.parametrize("key", ["link-logs.crio.io", "io.kubernetes.cri-o.LinkLogs"])
def test_logs_in_a_volume(linking, key):
    node, make = linking()
    config, volume = make(key)
    pod = node.run_pod(config), config
    first = node.sh(pod, "echo from the first", name="first")
    node.wait_exit(first)
    reader = node.sh(
        pod, f"cat /logs/first/0.log; cat /logs/{first}.log; touch /logs/mine && echo written; echo end", name="reader",
        mounts=[{"container_path": "/logs", "host_path": volume}],
    )
    node.wait_exit(reader)
    text = node.text(pod, reader)
    assert text.count("stdout F from the first") == 2 and "\nend\n" in text
    assert "written" not in text, "the logs can be changed from inside"
    node.remove_pod(pod[0])
    assert os.listdir(volume) == [], "the volume is the pod's own again"


def test_logs_are_linked_only_where_that_is_allowed(linking):
    node, make = linking(allowed=False)
    config, volume = make()
    pod = node.run_pod(config), config
    node.wait_exit(node.sh(pod, "echo secret"))
    assert os.listdir(volume) == []


@pytest.mark.parametrize("volume, made, word", [("logs", False, "emptyDir"), ("../../x", False, "name of a volume"), ("", False, "name of a volume")])
def test_a_volume_that_is_not_there_is_told(linking, volume, made, word):
    node, make = linking()
    config, _ = make(volume=volume, made=made)
    message = error_of(lambda: node.run_pod(config), KINDS.FAILED_PRECONDITION, KINDS.INVALID_ARGUMENT)
    assert "link-logs.crio.io" in message and word in message


def test_a_volume_in_memory_stays_the_kubelets(linking):
    node, make = linking()
    config, volume = make()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", volume], check=True)
    try:
        pod = node.run_pod(config)
        node.remove_pod(pod)
        node.client.RemovePodSandbox(pod_sandbox_id=pod)
        assert os.path.ismount(volume)
    finally:
        subprocess.run(["umount", volume], check=True)
