"""What crisp-image can reach while it works, seen from outside of its box; and that nothing of the box outlives it."""
import os
import select
import signal
import subprocess

import pytest
from kit import hostile
from kit.nginx import Authority, Nginx
from kit.wait import wait_for
from support import KINDS, error_of, small

BLOB = r"GET /v2/.*/blobs/"


def children(pid, name):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            for child in file.read().split():
                with open(f"/proc/{child}/comm") as comm:
                    if comm.read().strip() == name:
                        found.append(int(child))
    return found


def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def tree(top):
    """All that can be seen below a process's root, without what is mounted into it."""
    found = set()
    for folder, folders, files in os.walk(top):
        where = folder[len(top):] or "/"
        if where in ("/staging", "/proc/self/fd"):
            folders.clear()
            found.add(where)
            continue
        found.update(os.path.join(where, name) for name in files)
    return found


@pytest.fixture
def pulling(own_node, bad, build):
    """A pull that hangs in the middle of a layer: the node, its crisp-image and the call."""
    if "address" in build or "thread" in build:
        pytest.skip("built with a sanitizer there is no box")
    node = own_node()
    name = bad.put("a/b", "1", small())
    bad.rule = hostile.on(BLOB, hostile.hang(bad, after=10))
    call = node.client.start("PullImage", image={"image": name}, deadline=300)
    wait_for(lambda: bad.seen(BLOB), "the download to begin")
    (helper,) = children(node.daemon.pid, "crisp-image")
    yield node, helper, call
    call.cancel()


def test_it_is_alone(pulling):
    node, helper, _ = pulling
    for kind in ("mnt", "pid", "ipc", "uts", "cgroup"):
        assert os.readlink(f"/proc/{helper}/ns/{kind}") != os.readlink(f"/proc/{node.daemon.pid}/ns/{kind}"), kind
    assert os.readlink(f"/proc/{helper}/ns/net") == os.readlink(f"/proc/{node.daemon.pid}/ns/net")
    assert status(helper)["NSpid"].split()[1:] == ["1"]


def test_its_root_has_what_it_needs_and_no_more(pulling):
    _, helper, _ = pulling
    found = tree(f"/proc/{helper}/root")
    assert {"/staging", "/proc/self/fd"} <= found
    allowed = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf", "/etc/services"}
    assert {path for path in found if not path.startswith("/etc/ssl/certs/")} - {"/staging", "/proc/self/fd"} <= allowed
    with open(f"/proc/{helper}/mountinfo") as file:
        mounts = [line.split() for line in file]
    assert {mount[4] for mount in mounts} == {"/", "/staging", "/proc/self/fd"}
    for mount in mounts:
        assert {"nosuid", "nodev", "noexec"} <= set(mount[5].split(",")), mount
        assert mount[4] == "/staging" or "ro" in mount[5].split(","), mount
        assert not mount[6].startswith("shared:"), mount


def test_it_has_the_capabilities_of_unpacking_and_a_filter(pulling):
    _, helper, _ = pulling
    state = status(helper)
    # CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP
    kept = sum(1 << bit for bit in (0, 1, 3, 4, 27, 31))
    for kind in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb"):
        assert int(state[kind], 16) & ~kept == 0, kind
    assert state["NoNewPrivs"] == "1" and state["Seccomp"] == "2"


def test_the_daemon_and_the_machine_see_none_of_its_mounts(pulling):
    node, helper, _ = pulling
    for pid in (os.getpid(), node.daemon.pid):
        with open(f"/proc/{pid}/mountinfo") as file:
            assert "crisp-image" not in file.read()


def test_nothing_is_left_of_one_that_is_killed_with_its_daemon(pulling):
    node, helper, _ = pulling
    pidfd = os.pidfd_open(helper)
    try:
        node.daemon.kill()
        os.kill(helper, signal.SIGKILL)
        assert select.select([pidfd], [], [], 60)[0], "crisp-image has not ended"
    finally:
        os.close(pidfd)
    with open("/proc/self/mountinfo") as file:
        assert "crisp-image" not in file.read()
    node.daemon.start()


def test_a_killed_one_fails_its_pull_alone(pulling):
    node, helper, call = pulling
    os.kill(helper, signal.SIGKILL)
    assert "signal 9" in error_of(call.result, KINDS.INTERNAL)
    node.run_pod()


@pytest.mark.parametrize("kind", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_tls_by_name_and_the_machines_authorities(own_daemon, registry, image, tmp_path, kind):
    """Names and certificates are looked up inside: what they need is there."""
    repository = image("tls").partition("/")[2]
    authority = Authority(f"{tmp_path}/authority")
    os.makedirs(f"{tmp_path}/hashed")
    hashed = subprocess.run(["openssl", "x509", "-noout", "-hash", "-in", authority.file], stdout=subprocess.PIPE, text=True, check=True)
    os.symlink(authority.file, f"{tmp_path}/hashed/{hashed.stdout.strip()}.0")
    with Nginx(f"{tmp_path}/nginx", upstream=registry.host, certificate=authority.issue("server")) as server:
        host = f"localhost:{server.host.partition(':')[2]}"
        daemon = own_daemon(start=False)
        os.makedirs(f"{daemon.root}/hosts/{host}")
        with open(f"{daemon.root}/hosts/{host}/hosts.toml", "w") as file:
            file.write(f'server = "https://{host}"\n')
        daemon.start()
        assert "certificate" in error_of(lambda: daemon.client.PullImage(image={"image": f"{host}/{repository}"}), KINDS.FAILED_PRECONDITION)
        daemon.terminate()
        daemon.start(env={kind: authority.file if kind == "SSL_CERT_FILE" else f"{tmp_path}/hashed"})
        assert daemon.client.PullImage(image={"image": f"{host}/{repository}"}).image_ref
        assert any(request["status"] == 200 for request in server.see())
