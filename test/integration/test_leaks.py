"""The search for leftovers finds what there is to find: otherwise the other tests prove nothing."""
import os
import secrets
import subprocess
import sys

import pytest
from kit import leaks
from kit.daemon import Daemon


@pytest.fixture
def idle(build, handler):
    """A daemon's folders, names and cgroup, without a daemon."""
    daemon = Daemon(build, handler)
    daemon.ids.add(secrets.token_hex(32))
    daemon.make_cgroup(daemon.cgroup)
    yield daemon
    daemon.destroy()
    assert leaks.remains(daemon) == []


def test_nothing_is_found_where_nothing_is(idle):
    assert leaks.find(idle) == []


def test_a_process_by_its_words_and_by_its_cgroup(idle):
    code = "import time; print(flush=True); time.sleep(1000)"
    by_words = subprocess.Popen([sys.executable, "-c", code, f"{idle.root}/x"], stdout=subprocess.PIPE)
    by_group = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        by_words.stdout.readline(), by_group.stdout.readline()
        root = next(iter(leaks.cgroup_roots()))
        with open(f"{root}{idle.cgroup}/cgroup.procs", "w") as file:
            file.write(str(by_group.pid))
        assert {pid for pid, _ in leaks.processes(idle)} == {by_words.pid, by_group.pid}
        assert len(leaks.find(idle)) == 2
    finally:
        for process in (by_words, by_group):
            process.kill()
            process.wait()
            process.stdout.close()


def test_a_mount(idle):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", idle.run], check=True)
    assert [line.split()[0] for line in leaks.find(idle)] == ["mount"]


def test_a_cgroup(idle):
    for root in leaks.cgroup_roots():
        os.makedirs(f"{root}{idle.cgroup}/pod/container")
        os.makedirs(f"{root}/elsewhere-{next(iter(idle.ids))}")
    assert len(leaks.find(idle)) == 3 * len(list(leaks.cgroup_roots()))


def test_an_interface_and_a_rule(idle):
    name = f"v{idle.tag}"
    for words in (
        f"add {idle.bridge} type bridge", f"add {name} type veth peer name p{idle.tag}", f"set {name} master {idle.bridge}",
    ):
        subprocess.run(["ip", "link", *words.split()], check=True)
    rule = ["INPUT", "-s", f"{idle.subnet}.0/24", "-j", "ACCEPT"]
    subprocess.run(["iptables", "-A", *rule], check=True)
    try:
        found = {line.split()[0] for line in leaks.find(idle)}
    finally:
        subprocess.run(["iptables", "-D", *rule], check=True)
    assert found == {"interface", "packet"}


def test_files_and_addresses(idle):
    os.makedirs(f"{idle.state}/pods/x")
    os.makedirs(f"{idle.root}/ipam/net")
    for name in (f"{idle.root}/ipam/net/10.1.2.3", f"{idle.root}/ipam/net/last_reserved_ip.0", f"{idle.run}/{next(iter(idle.ids))}.sock"):
        with open(name, "w"):
            pass
    assert len(leaks.find(idle)) == 3
