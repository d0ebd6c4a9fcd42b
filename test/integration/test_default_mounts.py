"""Mounts that no request names: what every container has, the node's own, those that an image declares, and an init system's."""
import json
import os
import re

import pytest
from kit import leaks
from kit.cri import pb
from kit.image import Layer
from kit.wait import wait_for
from support import FAILS, NODE, Node, error_of

SIGRTMIN = 34  # as libc counts them


def spec_of(node, container):
    with open(f"{node.daemon.state}/containers/{container}/bundle/config.json") as file:
        return json.load(file)


def options_of(node, container, destination):
    found = [m for m in spec_of(node, container)["mounts"] if m["destination"] == destination]
    return found[0].get("options", []) if found else None


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


@pytest.fixture
def told(own_daemon, busybox):
    """A daemon with further lines of [runtime], made after prepare(daemon)."""
    def make(lines="", prepare=None, wrapper=(), **sections):
        daemon = own_daemon(start=False)
        daemon.wrapper = list(wrapper)
        if prepare:
            prepare(daemon)
        daemon.write_config({"runtime": lines.format(root=daemon.root), **sections})
        daemon.start()
        return Node(daemon, busybox)
    return make


# ---- what every container has ----

def test_containerenv_and_mtab(node):
    container = node.sleeper(node.pod())
    assert node.exec_sh(container, "test -f /run/.containerenv && readlink /etc/mtab") == "/proc/mounts\n"
    assert "overlay" in node.exec_sh(container, "cat /etc/mtab")


def test_mtab_in_images_that_are_in_the_way(node, image):
    own = image("ownmtab", {}, [Layer().file("etc/mtab", "mine\n")])
    node.pull(own)
    assert node.output(node.pod(), "cat /etc/mtab", image=own) == "mine\n"
    for tag, layer in (("file", Layer().file("etc/.wh..wh..opq").file("etc/.wh.x")), ("out", Layer().file(".wh.etc").symlink("etc", "/../../tmp/crisp-etc"))):
        name = image("etc", {}, [layer], tag=tag)
        node.pull(name)
        assert node.create(node.pod(), ["true"], image=name)
    assert not os.path.lexists("/tmp/crisp-etc")


def test_hosts_of_a_pod_in_the_nodes_network(node):
    with open("/etc/hosts") as file:
        hosts = file.read()
    pod = node.pod(linux=node.namespaces(network=NODE))
    container = node.sleeper(pod)
    assert node.exec_sh(container, "cat /etc/hosts") == hosts
    node.exec_sh(container, "echo 192.0.2.7 mine >>/etc/hosts")
    with open("/etc/hosts") as file:
        assert file.read() == hosts
    own = f"{node.daemon.root}/logs/hosts"
    write(own, "192.0.2.1 given\n")
    given = node.sleeper(pod, name="given", mounts=[{"container_path": "/etc/hosts", "host_path": own}])
    assert node.exec_sh(given, "cat /etc/hosts") == "192.0.2.1 given\n"


def test_shm_and_mqueue(node):
    pod = node.pod()
    container = node.sleeper(pod, name="a")
    other = node.sleeper(pod, name="b")
    mounts = dict((line.split()[1], line.split()) for line in node.exec_sh(container, "cat /proc/mounts").splitlines())
    assert mounts["/dev/shm"][2] == "tmpfs" and "size=65536k" in mounts["/dev/shm"][3]
    assert mounts["/dev/mqueue"][2] == "mqueue"
    node.exec_sh(container, "echo shared >/dev/shm/x")
    assert node.exec_sh(other, "cat /dev/shm/x") == "shared\n"
    assert node.exec_sh(container, "stat -c %a /dev/shm /dev").split() == ["1777", "755"]


# ---- the node's ----

def test_mounts_conf(told):
    def prepare(daemon):
        root = daemon.root
        write(f"{root}/secrets/key", "secret\n")
        write(f"{root}/elsewhere/deep/file", "linked\n")
        os.symlink(f"{root}/elsewhere", f"{root}/secrets/linked")
        os.symlink("/no/such", f"{root}/secrets/dangling")
        os.chmod(f"{root}/secrets/key", 0o440)
        write(f"{root}/one", "one\n")
        write(f"{root}/mounts.conf", f"# ours\n{root}/secrets:/run/secrets\n{root}/one:/etc/one\n/no/such/thing:/etc/two\n{root}/one:/given\n")

    node = told('default_mounts_file = "{root}/mounts.conf"\n', prepare)
    root = node.daemon.root
    write(f"{root}/logs/given", "given\n")
    pod = node.pod()
    container = node.sleeper(pod, mounts=[{"container_path": "/given", "host_path": f"{root}/logs/given"}])
    assert node.exec_sh(container, "cat /run/secrets/key /run/secrets/linked/deep/file /etc/one /given") == "secret\nlinked\none\ngiven\n"
    assert node.exec_sh(container, "stat -c %a /run/secrets/key; ls /run/secrets; test -e /etc/two || echo no").split() == ["440", "key", "linked", "no"]
    # A copy: what a container does to it nobody else sees.
    node.exec_sh(container, "echo changed >/run/secrets/key; rm -r /run/secrets/linked")
    assert open(f"{root}/secrets/key").read() == "secret\n" and os.path.exists(f"{root}/elsewhere/deep/file")
    assert node.output(pod, "cat /run/secrets/key", name="second") == "secret\n"
    # Read each time.
    write(f"{root}/mounts.conf", f"{root}/one:relative\n")
    message = error_of(lambda: node.create(pod, ["true"], name="third"), *FAILS)
    assert f"{root}/mounts.conf:1" in message and "default_mounts_file" in message
    os.unlink(f"{root}/mounts.conf")
    assert f"{root}/mounts.conf" in error_of(lambda: node.create(pod, ["true"], name="third"), *FAILS)


def test_a_default_mount_that_is_too_much_is_refused(told):
    def prepare(daemon):
        os.makedirs(f"{daemon.root}/big")
        with open(f"{daemon.root}/big/file", "w") as file:
            file.truncate(65 << 20)
        write(f"{daemon.root}/mounts.conf", f"{daemon.root}/big:/big\n")

    node = told('default_mounts_file = "{root}/mounts.conf"\n', prepare)
    assert "more bytes" in error_of(lambda: node.create(node.pod(), ["true"]), *FAILS)


def test_a_read_only_root_for_every_container(told, image):
    node = told("read_only = true\n")
    name = image("readonly", {}, [Layer().folder("tmp", 0o1777).file("tmp/of-the-image", "kept\n").folder("var/tmp", 0o1777)])
    node.pull(name)
    container = node.sleeper(node.pod(), image=name)
    assert "Read-only" in node.exec_sh(container, "touch /file 2>&1; true")
    assert "ro" in options_of(node, container, "/etc/hostname")
    assert node.exec_sh(container, "touch /tmp/a /var/tmp/b /run/c && cat /tmp/of-the-image") == "kept\n"
    assert node.exec_sh(container, "stat -c %a /tmp /var/tmp /run").split() == ["1777", "1777", "755"]
    assert "noexec" in node.exec_sh(container, "grep ' /tmp ' /proc/mounts")
    own = f"{node.daemon.root}/logs/own"
    os.makedirs(own)
    given = node.sleeper(node.pod(), image=name, mounts=[{"container_path": "/tmp", "host_path": own}])
    node.exec_sh(given, "touch /tmp/through")
    assert os.listdir(own) == ["through"]


# ---- volumes that an image declares ----

@pytest.fixture
def declaring(image):
    layer = Layer().folder("data", 0o750, uid=1000, gid=1001).file("data/file", "image\n", uid=1000, mode=0o640)
    layer.symlink("data/link", "file").symlink("out", "/../../../tmp/crisp-volume").file("plain", "x")
    config = {"Volumes": {"/data": {}, "/new/one": {}, "/out/sub": {}}, "User": "1000:1001"}
    return image("volumes", config, [layer])


def test_volumes_become_folders(node, declaring):
    node.pull(declaring)
    container = node.sleeper(node.pod(), image=declaring)
    assert node.exec_sh(container, "cat /data/file; stat -c '%a %u:%g' /data /new/one") == "image\n750 1000:1001\n755 1000:1001\n"
    assert node.exec_sh(container, "stat -c %u /tmp/crisp-volume/sub") == "1000\n"
    assert not os.path.exists("/tmp/crisp-volume")
    assert options_of(node, container, "/data") is None


def test_volumes_beside_the_writable_layer(told, declaring):
    node = told('image_volumes = "bind"\n')
    node.pull(declaring)
    pod = node.pod()
    own = f"{node.daemon.root}/logs/own"
    os.makedirs(own)
    container = node.sleeper(pod, image=declaring, mounts=[{"container_path": "/out/sub", "host_path": own}],
                             linux={"security_context": {"readonly_rootfs": True}})
    assert node.exec_sh(container, "cat /data/link; stat -c '%a %u:%g' /data /data/file /new/one").split("\n") == [
        "image", "750 1000:1001", "640 1000:0", "755 1000:1001", ""]
    node.exec_sh(container, "echo mine >/data/mine; touch /new/one/x")
    folder = f"{node.daemon.state}/containers/{container}"
    assert not os.path.exists(f"{folder}/upper/data/mine")
    second = node.sleeper(pod, image=declaring, name="second")
    assert node.exec_sh(second, "ls /data").split() == ["file", "link"]
    # A restart of the daemon changes nothing; the container's removal takes them along.
    node.daemon.restart()
    assert node.exec_sh(container, "cat /data/mine") == "mine\n"
    node.stop(container, timeout=0)
    assert os.path.exists(f"{folder}/volumes")
    node.client.RemoveContainer(container_id=container)
    assert not os.path.exists(folder)


def test_volumes_may_be_ignored(told, declaring):
    node = told('image_volumes = "ignore"\n')
    node.pull(declaring)
    container = node.sleeper(node.pod(), image=declaring)
    assert node.exec_sh(container, "ls -d /new 2>&1 || true").endswith("No such file or directory\n")


def test_a_volume_that_cannot_be(node, image):
    name = image("badvolume", {"Volumes": {"/bin/busybox/x": {}}})
    node.pull(name)
    assert "/bin/busybox/x" in error_of(lambda: node.create(node.pod(), ["true"], image=name), *FAILS)


# ---- init systems ----

def signal_number(name):
    return pb.Signal.Value(name)


INIT = "#!/bin/sh\ntrap 'echo told; exit 0' %d\ntrap 'echo term' TERM\necho up\nwhile :; do sleep 1000 & wait; done\n"


@pytest.fixture
def systemd(image):
    script = INIT % (SIGRTMIN + 3)
    layer = Layer().file("usr/lib/systemd/systemd", script, mode=0o755).file("sbin/init", script, mode=0o755).file("run/of-the-image", "x")
    return image("systemd", {"Cmd": ["/usr/lib/systemd/systemd"]}, [layer])


@pytest.mark.parametrize("command", [None, ["/sbin/init"], ["/usr/lib/systemd/systemd", "--system"]])
def test_an_init_system(node, systemd, command):
    node.pull(systemd)
    pod = node.pod()
    container = node.run(pod, command, image=systemd)
    wait_for(lambda: "up" in node.text(pod, container), "the init system to be up")
    mounts = dict((line.split()[1], line.split()[2]) for line in node.exec_sh(container, "cat /proc/mounts").splitlines())
    for place in ("/run", "/run/lock", "/tmp", "/var/log/journal"):
        assert mounts[place] == "tmpfs", place
    assert node.exec_sh(container, "ls /run/of-the-image") == "/run/of-the-image\n"
    assert "container=crisp" in node.exec_sh(container, "cat /proc/1/environ | tr '\\0' '\\n'").split()
    status = node.status(container)
    assert status.stop_signal == signal_number("SIGNAL_SIGRTMINPLUS3")
    node.stop(container, timeout=60)
    assert node.status(container).exit_code == 0
    assert node.text(pod, container) == "up\ntold\n"


@pytest.mark.node
def test_an_init_system_writes_to_its_own_cgroup_alone(node, systemd):
    node.pull(systemd)
    if not os.path.isdir("/sys/fs/cgroup/systemd"):
        pytest.skip("no hierarchy of systemd")
    pod = node.pod()
    container = node.run(pod, image=systemd)
    [own] = [line.split(":")[2] for line in node.exec_sh(container, "cat /proc/1/cgroup").splitlines() if ":name=systemd:" in line]
    assert node.exec_sh(container, f"mkdir /sys/fs/cgroup/systemd{own}/mine && rmdir /sys/fs/cgroup/systemd{own}/mine && echo made") == "made\n"
    assert "Read-only" in node.exec_sh(container, "mkdir /sys/fs/cgroup/systemd/mine 2>&1; true")
    assert "Read-only" in node.exec_sh(container, f"mkdir /sys/fs/cgroup/systemd{os.path.dirname(own)}/mine 2>&1; true")
    assert "Read-only" in node.exec_sh(container, f"mkdir /sys/fs/cgroup/memory{'' if os.path.isdir('/sys/fs/cgroup/memory') else own}/mine 2>&1; true")


@pytest.mark.parametrize("command", [["/bin/sh", "-c", "sleep 1000"], ["/usr/bin/env", "systemd"]])
def test_what_is_no_init_system(node, systemd, command):
    node.pull(systemd)
    container = node.create(node.pod(), command, image=systemd)
    assert options_of(node, container, "/run/lock") is None
    assert node.status(container).stop_signal == signal_number("SIGNAL_SIGTERM")
    assert not [e for e in spec_of(node, container)["process"]["env"] if e.startswith("container=")]


def test_the_images_own_stop_signal_goes_before(node, image):
    name = image("initstop", {"Cmd": ["/sbin/init"], "StopSignal": "SIGUSR1"}, [Layer().file("sbin/init", INIT % 10, mode=0o755)])
    node.pull(name)
    assert node.status(node.create(node.pod(), image=name)).stop_signal == signal_number("SIGNAL_SIGUSR1")


# ---- cgroups ----

ANNOTATION = "cgroup2-mount-hierarchy-rw"
HIERARCHIES = {"v1": []} if list(leaks.cgroup_roots()) != ["/sys/fs/cgroup"] else {}
# A machine with v2 alone, as far as a mount namespace goes: no controller is there, but the rest is.
HIERARCHIES["v2"] = ["unshare", "-m", "--propagation", "unchanged", "sh", "-c",
                     'umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"', "sh"] if HIERARCHIES else []
TRY = "cd /sys/fs/cgroup/memory 2>/dev/null || cd /sys/fs/cgroup; mkdir mine 2>/dev/null && echo made || echo refused"


def can_have(hierarchy, handler):
    """crun raises a limit for the device rules of v2, which takes CAP_SYS_RESOURCE."""
    with open("/proc/self/status") as file:
        effective = int(re.search(r"CapEff:\s*(\w+)", file.read())[1], 16)
    if hierarchy == "v2" and handler == "crun" and not effective >> 24 & 1:
        pytest.skip("no CAP_SYS_RESOURCE here")


@pytest.fixture(params=list(HIERARCHIES))
def hierarchy(request, handler):
    can_have(request.param, handler)
    return request.param


@pytest.mark.parametrize("key", [f"io.kubernetes.cri-o.{ANNOTATION}", f"{ANNOTATION}.crio.io"])
@pytest.mark.node
def test_a_writable_cgroup_by_annotation(told, hierarchy, key):
    """Only where it is allowed, and only where a cgroup namespace (v2) keeps the container in its own."""
    node = told(f'allowed_annotations = ["{ANNOTATION}.crio.io"]\n', wrapper=HIERARCHIES[hierarchy])
    assert node.output(node.pod(annotations={key: "true"}), TRY) == {"v1": "refused\n", "v2": "made\n"}[hierarchy]
    assert node.output(node.pod(annotations={key: "yes"}), TRY) == "refused\n"
    assert node.output(node.pod(), TRY) == "refused\n"


def test_a_writable_cgroup_that_is_not_allowed(told, hierarchy):
    node = told(wrapper=HIERARCHIES[hierarchy])
    assert node.output(node.pod(annotations={f"{ANNOTATION}.crio.io": "true"}), TRY) == "refused\n"


def test_a_writable_cgroup_by_the_handler(told, hierarchy, handler):
    node = told(wrapper=HIERARCHIES[hierarchy], **{f"runtime.handlers.{handler or 'runc'}": "cgroup_writable = true\n"})
    assert node.output(node.pod(), TRY) == {"v1": "refused\n", "v2": "made\n"}[hierarchy]


@pytest.mark.node
def test_an_init_system_divides_its_cgroup(told, systemd, handler):
    can_have("v2", handler)
    node = told(wrapper=HIERARCHIES["v2"])
    node.pull(systemd)
    container = node.run(node.pod(), image=systemd)
    [line] = [line for line in node.exec_sh(container, "cat /proc/self/mountinfo").splitlines() if line.split()[4] == "/sys/fs/cgroup"]
    assert "rw" in line.split()[5].split(",")
    assert line.split()[3] == "/"  # its own part, as its namespace shows it
