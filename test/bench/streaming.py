"""Exec and port-forward: how soon a command starts, how fast bytes go, what a session costs."""
import concurrent.futures
import time

from kit.wait import wait_for
from streams import forward, run, sessions
from subjects import Crisp, pss
from support import Node
from test_port_forward import server

EXECS = 200  # of each kind
AT_ONCE = 32
BYTES = 512 << 20  # through each stream
SESSIONS = 100  # that are open when memory is looked at


def exec_times(node, container, at_once):
    """Milliseconds of each ExecSync of `true`."""
    def one(_):
        began = time.perf_counter()
        assert node.exec(container, "true").exit_code == 0
        return (time.perf_counter() - began) * 1000
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, range(at_once)))  # warm
        return list(pool.map(one, range(EXECS)))


def swallow(sock, count):
    began = time.perf_counter()
    while count > 0:
        part = sock.recv(1 << 20)
        assert part, f"{count} bytes are missing"
        count -= len(part)
    return time.perf_counter() - began


def exec_rate(node, container):
    """MB/s of an exec's stdout over SPDY. busybox's head would be what is measured: it goes byte by byte."""
    session = run(node, container, f"exec dd if=/dev/zero bs=64k count={BYTES >> 16}", reading=False, stderr=False)
    seconds = swallow(session.sock, BYTES)
    session.vanish()
    return BYTES / seconds / 1e6


def forward_rate(node, pod):
    """MB/s of a forwarded connection, from the pod."""
    block = bytes(1 << 20)

    def pour(connection):
        for _ in range(BYTES >> 20):
            connection.sendall(block)

    with server(node, pod, pour):
        forwarder = forward(node, pod)
        connection = forwarder.connect(7000)
        began = time.perf_counter()
        wait_for(lambda: len(connection.got) >= BYTES, "all of it", 300, 0.005)
        seconds = time.perf_counter() - began
        forwarder.vanish()
    return BYTES / seconds / 1e6


def session_cost(daemon, node, container):
    """KB of the daemon's memory for each open session."""
    before = pss(daemon.pid)
    opened = [run(node, container, "cat", stdin=True, reading=False) for _ in range(SESSIONS)]
    wait_for(lambda: sessions(node) == SESSIONS, "the sessions", 120)
    time.sleep(2)
    after = pss(daemon.pid)
    for session in opened:
        session.vanish()
    wait_for(lambda: sessions(node) == 0, "the sessions' ends", 120)
    return (after - before) * 1000 / SESSIONS


def measure(build, handler, folder, image):
    daemon = Crisp(build, handler, f"{folder}/streaming")
    try:
        daemon.start()
        node = Node(daemon, image)
        pod = node.pod()
        container = node.sleeper(pod)
        results = {
            "alone": exec_times(node, container, 1),
            "at once": exec_times(node, container, AT_ONCE),
            "exec": exec_rate(node, container),
            "forward": forward_rate(node, pod[0]),
            "session": session_cost(daemon, node, container),
        }
        daemon.remove_everything()
    finally:
        left = daemon.destroy()
        if left:
            print("the daemon with streams left behind:\n  " + "\n  ".join(left[:20]))
    return results


def show(results):
    def line(name, times):
        times = sorted(times)
        print(f"  {name:40} {times[len(times) // 2]:8.1f} {times[int(len(times) * 0.99)]:8.1f}")

    print(f"\nExec and port-forward\n  {'ms':40} {'median':>8} {'99 %':>8}")
    line("ExecSync of true, one at a time", results["alone"])
    line(f"ExecSync of true, {AT_ONCE} at once", results["at once"])
    print(f"  {'exec stdout over SPDY':40} {results['exec']:8.0f} MB/s")
    print(f"  {'port-forward, read by the test client':40} {results['forward']:8.0f} MB/s")
    print(f"  {'memory of an open exec session':40} {results['session']:8.1f} KB")
