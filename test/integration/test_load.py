"""Much at once, and for long: who waits holds nothing up, and nothing grows."""
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from kit.cri import Client
from kit.wait import PATIENCE, wait_for
from recorder import Recorder
from support import KINDS, READY, RUNNING, Node, monitor_of


def numbers(daemon):
    """Descriptors, threads and resident kilobytes of the daemon."""
    with open(f"/proc/{daemon.pid}/status") as file:
        text = file.read()
    return (
        len(os.listdir(f"/proc/{daemon.pid}/fd")),
        int(re.search(r"Threads:\s*(\d+)", text)[1]),
        int(re.search(r"VmRSS:\s*(\d+)", text)[1]),
    )


def test_a_thousand_waiting_calls_and_status_answers(own_node):
    node = own_node()
    container = node.sh(node.pod(), "trap '' TERM; echo up; while :; do sleep 1000; done")
    node.wait_log(container, "up")
    calls = [node.client.start("StopContainer", container_id=container, timeout=3600, deadline=3600) for _ in range(1000)]
    for _ in range(20):
        assert node.client.Status(deadline=30).status.conditions
        assert node.client.ListContainers(deadline=30).containers
    assert not any(call.done() for call in calls)
    _, threads, _ = numbers(node.daemon)
    assert threads < 200, "a waiting call holds a thread"
    node.stop(container, timeout=0)
    for call in calls:
        call.result(timeout=120)


def test_many_execs_that_wait(node):
    container = node.sleeper(node.pod())
    calls = [node.client.start("ExecSync", container_id=container, cmd=["sleep", "1000"], timeout=1000, deadline=1000) for _ in range(50)]
    wait_for(lambda: node.exec_sh(container, "ps -o args | grep -c '[s]leep 1000' || true").strip() >= "5", "the execs to run", 120)
    assert node.client.Status(deadline=30).status.conditions
    _, threads, _ = numbers(node.daemon)
    assert threads < 150
    node.stop(container, timeout=0)
    for call in calls:
        assert call.exception(timeout=120) or call.result().exit_code != 0


def test_sigterm_stops_it_while_calls_wait_and_containers_run(own_node):
    node = own_node()
    container = node.sh(node.pod(), "trap '' TERM; echo up; while :; do sleep 1; done")
    node.wait_log(container, "up")
    calls = [node.client.start("StopContainer", container_id=container, timeout=3600, deadline=3600) for _ in range(50)]
    calls.append(node.client.start("ExecSync", container_id=container, cmd=["sleep", "1000"], deadline=1000))
    time.sleep(0.5)
    process = node.pid_of(container)
    assert node.daemon.terminate() == 0
    for call in calls:
        assert call.exception(timeout=60).code() in (KINDS.UNAVAILABLE, KINDS.CANCELLED, KINDS.ABORTED)
    os.kill(process, 0)
    node.daemon.start()
    assert node.status(container).state == RUNNING
    assert node.pid_of(container) == process


def test_many_pods_at_once(node):
    with ThreadPoolExecutor(20) as pool:
        pods = list(pool.map(lambda _: node.pod(), range(20)))
        containers = list(pool.map(lambda pod: node.sleeper(pod), pods))
        assert len({node.pod_status(pod).network.ip for pod, _ in pods}) == 20
        assert all(node.status(c).state == RUNNING for c in containers)
        list(pool.map(lambda pod: node.remove_pod(pod[0]), pods))
    assert not node.client.ListPodSandbox().items


@pytest.mark.slow
def test_two_hundred_pods_made_and_removed_at_once(own_daemon, busybox):
    # All plugins run at once: on a slow machine each of them takes as long as all.
    daemon = own_daemon(start=False, network=False, config={"network": f"timeout = {int(60 * PATIENCE)}\n"})
    Recorder(daemon)
    daemon.write_network({"cniVersion": "1.0.0", "name": f"net{daemon.tag}", "plugins": [{"type": "recorder"}]})
    daemon.start()
    node = Node(daemon, busybox)
    with ThreadPoolExecutor(200) as pool:
        pods = list(pool.map(lambda _: node.run_pod(deadline=600), range(200)))
        assert len(node.client.ListPodSandbox(filter={"state": {"state": READY}}).items) == len(set(pods)) == 200

        def remove(pod):
            node.client.StopPodSandbox(pod_sandbox_id=pod, deadline=600)
            node.client.RemovePodSandbox(pod_sandbox_id=pod, deadline=600)
        list(pool.map(remove, pods))
    assert not node.client.ListPodSandbox().items
    # That nothing is left of them (mounts, processes, cgroups, records) is looked at after each test.


def test_hung_plugins_do_not_hold_up_other_pods(own_daemon, busybox):
    daemon = own_daemon(start=False, network=False, config={"network": f"timeout = {int(20 * PATIENCE)}\n"})
    recorder = Recorder(daemon)
    daemon.write_network({"cniVersion": "1.0.0", "name": "x", "plugins": [{"type": "recorder"}]})
    node = Node(daemon.start(), busybox)
    # Who has a name that begins with "hung" hangs.
    recorder.behave("ADD", 'case "$CNI_ARGS" in *K8S_POD_NAME=hung*) sleep 5557;; esac\n')
    calls = [node.client.start("RunPodSandbox", config=node.pod_config(f"hung{i}"), deadline=300) for i in range(20)]
    wait_for(lambda: len(recorder.calls("ADD")) >= 20, "the plugins to hang")
    assert not any(call.done() for call in calls)
    for i in range(3):
        assert node.pod_status(node.run_pod(node.pod_config(f"fine{i}"))).state == READY
    for call in calls:
        assert call.exception(timeout=300 * PATIENCE)


@pytest.mark.slow
def test_descriptors_and_memory_stay_flat(own_node):
    node = own_node()

    def cycle():
        pod = node.pod(linux=node.namespaces(pid=0))
        container = node.sleeper(pod)
        node.exec(container, "true")
        node.stop(container)
        node.client.RemoveContainer(container_id=container)
        node.remove_pod(pod[0])

    for _ in range(10):
        cycle()
    before = numbers(node.daemon)
    for _ in range(40):
        cycle()
    def settled():
        now = numbers(node.daemon)
        return now if now[0] <= before[0] and now[1] <= before[1] + 4 else None
    after = wait_for(settled, f"descriptors and threads to be back at {before}, now {numbers(node.daemon)}")
    assert after[2] < before[2] + 2048, (before, after)


@pytest.mark.slow
def test_execs_leave_nothing_behind(own_node):
    """CRISP_EXECS of them, four at a time: memory and descriptors stay flat, and there is no zombie."""
    wanted = int(os.environ.get("CRISP_EXECS", "200"))
    node = own_node()
    container = node.sleeper(node.pod())
    monitor = monitor_of(container)

    def run(count):
        with ThreadPoolExecutor(4) as pool:
            assert all(code == 3 for code in pool.map(
                lambda i: node.exec(container, "/bin/sh", "-c", f"echo {i}; exit 3", timeout=120).exit_code, range(count)))

    def monitor_numbers():
        with open(f"/proc/{monitor}/status") as file:
            return len(os.listdir(f"/proc/{monitor}/fd")), int(re.search(r"VmRSS:\s*(\d+)", file.read())[1])

    def zombies():
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as file:
                    after = file.read().rpartition(")")[2].split()
            except OSError:
                continue
            if after[0] == "Z" and int(after[1]) in (node.daemon.pid, monitor):
                found.append(pid)
        return found

    run(100)
    before, monitor_before = numbers(node.daemon), monitor_numbers()
    run(wanted)
    after = wait_for(
        lambda: (lambda now: now if now[0] <= before[0] and now[1] <= before[1] + 4 else None)(numbers(node.daemon)),
        f"descriptors and threads to be back at {before}, now {numbers(node.daemon)}")
    wait_for(lambda: not zombies(), "no zombie")
    print(f"{wanted} execs: daemon's descriptors, threads, KiB {before} -> {after}; monitor's descriptors, KiB "
          f"{monitor_before} -> {monitor_numbers()}")
    assert after[2] < before[2] + 2048, (before, after)
    assert monitor_numbers()[0] == monitor_before[0] and monitor_numbers()[1] <= monitor_before[1] + 64


def test_clients_that_come_and_go_cost_nothing(node):
    def visit(_):
        client = Client(node.daemon.socket)
        client.Version()
        client.close()
    visit(0)
    before = numbers(node.daemon)[0]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(visit, range(100)))
    wait_for(lambda: numbers(node.daemon)[0] <= before + 2, "connections to be closed")


def test_a_stopped_client_does_not_hold_up_others(node):
    """A process that asks and never reads."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from kit.cri import Client\n"
        "c = Client(sys.argv[2])\n"
        "calls = [c.start('ListContainers') for _ in range(100)]\n"
        "print('asked', flush=True)\n"
        "import time; time.sleep(1000)\n"
    )
    contrib = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../contrib")
    client = subprocess.Popen([sys.executable, "-c", code, contrib, node.daemon.socket], stdout=subprocess.PIPE)
    try:
        client.stdout.readline()
        client.send_signal(signal.SIGSTOP)
        for _ in range(10):
            assert node.client.Status(deadline=30).status.conditions
    finally:
        client.kill()
        client.wait()
        client.stdout.close()
