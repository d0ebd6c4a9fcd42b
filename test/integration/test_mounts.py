"""Mounts that a request asks for: how they spread, what they may, and whose files they show."""
import json
import os
import subprocess

import pytest
from kit.cri import pb
from kit.image import Layer
from kit.wait import wait_for
from support import FAILS, KINDS, Node, error_of

pytestmark = pytest.mark.handler

HOST_TO_CONTAINER, BIDIRECTIONAL = 1, 2


def sh(*command):
    subprocess.run(command, check=True)


def mounted_below(folder):
    with open("/proc/self/mountinfo") as file:
        return [line.split()[4] for line in file if line.split()[4].startswith(folder)]


def unmount_below(folder):
    for place in sorted(mounted_below(folder), reverse=True):
        subprocess.run(["umount", "-l", place], check=False)


def spec_of(node, container):
    with open(f"{node.daemon.state}/containers/{container}/bundle/config.json") as file:
        return json.load(file)


def spec_mount(node, container, destination):
    [found] = [m for m in spec_of(node, container)["mounts"] if m["destination"] == destination]
    return found


@pytest.fixture
def folder(node):
    """An empty folder of the host, of this test alone."""
    made = f"{node.daemon.root}/mounts"
    os.makedirs(made)
    yield made
    unmount_below(made)
    sh("rm", "-rf", made)


@pytest.fixture
def spreading(folder):
    """A tmpfs of the host that spreads."""
    sh("mount", "-t", "tmpfs", "tmpfs", folder)
    sh("mount", "--make-shared", folder)
    os.makedirs(f"{folder}/volume")
    return f"{folder}/volume"


# ---- propagation ----

def test_host_mounts_reach_a_container_that_asks(node, spreading):
    mounts = [{"container_path": "/v", "host_path": spreading, "propagation": HOST_TO_CONTAINER},
              {"container_path": "/private", "host_path": spreading}]
    container = node.sleeper(node.pod(), mounts=mounts)
    os.makedirs(f"{spreading}/later")
    sh("mount", "-t", "tmpfs", "tmpfs", f"{spreading}/later")
    open(f"{spreading}/later/file", "w").close()
    assert node.exec_sh(container, "ls /v/later") == "file\n"
    assert node.exec_sh(container, "ls /private/later") == ""
    sh("umount", f"{spreading}/later")
    assert node.exec_sh(container, "ls /v/later") == ""


def test_a_containers_mounts_reach_the_host(node, spreading):
    linux = {"security_context": {"privileged": True}}
    mounts = [{"container_path": "/v", "host_path": spreading, "propagation": BIDIRECTIONAL}]
    container = node.sleeper(node.privileged_pod(), mounts=mounts, linux=linux)
    node.exec_sh(container, "mkdir /v/inside && mount -t tmpfs tmpfs /v/inside && touch /v/inside/file")
    assert os.listdir(f"{spreading}/inside") == ["file"]
    node.exec_sh(container, "umount /v/inside")
    assert os.listdir(f"{spreading}/inside") == []


@pytest.mark.parametrize("propagation, words", [(HOST_TO_CONTAINER, "not a shared or slave mount"), (BIDIRECTIONAL, "not a shared mount")])
def test_a_mount_that_does_not_spread_is_told(node, spreading, folder, propagation, words):
    sh("mount", "--make-private", folder)
    mounts = [{"container_path": "/v", "host_path": spreading, "propagation": propagation}]
    message = error_of(lambda: node.create(node.pod(), ["true"], mounts=mounts), *FAILS)
    assert words in message and f'"{folder}"' in message and "/v" in message


def test_a_slave_is_enough_from_the_host(node, spreading, folder):
    other = f"{node.daemon.root}/mounts-slave"
    os.makedirs(other)
    try:
        sh("mount", "--bind", folder, other)
        sh("mount", "--make-slave", other)
        mounts = [{"container_path": "/v", "host_path": f"{other}/volume", "propagation": HOST_TO_CONTAINER}]
        assert node.create(node.pod(), ["true"], mounts=mounts)
        mounts[0]["propagation"] = BIDIRECTIONAL
        error_of(lambda: node.create(node.pod(), ["true"], mounts=mounts), *FAILS)
    finally:
        unmount_below(other)
        os.rmdir(other)


def test_what_holds_our_mounts_follows_them(node):
    """A container with a private copy of them would keep each for as long as it runs."""
    root = node.daemon.root
    container = node.sleeper(node.pod(), mounts=[
        {"container_path": "/all", "host_path": root}, {"container_path": "/run-only", "host_path": f"{root}/run"},
        {"container_path": "/cni", "host_path": f"{root}/cni"},
    ])
    assert "rslave" in spec_mount(node, container, "/all")["options"]
    assert "rslave" in spec_mount(node, container, "/run-only")["options"]
    assert "rprivate" in spec_mount(node, container, "/cni")["options"]
    assert node.status(container).mounts[0].propagation == 0  # as the kubelet said


def test_no_container_keeps_another_containers_root(own_daemon, busybox):
    daemon = own_daemon(start=False)
    sh("mount", "--bind", daemon.root, daemon.root)
    try:
        sh("mount", "--make-shared", daemon.root)
        daemon.start()
        node = Node(daemon, busybox)
        pod = node.pod()
        watching = node.sleeper(pod, name="watching", mounts=[{"container_path": "/all", "host_path": daemon.root}])
        other = node.sleeper(pod, name="other")
        assert node.exec_sh(watching, f"grep -c /all/run/containers/{other}/rootfs /proc/mounts") == "1\n"
        node.stop(other)
        node.client.RemoveContainer(container_id=other)
        assert node.exec_sh(watching, f"grep -c /all/run/containers/{other} /proc/mounts; true") == "0\n"
        daemon.remove_everything()
    finally:
        if daemon.alive():
            daemon.terminate()
        daemon.process = None
        unmount_below(daemon.root)


# ---- rights ----

def test_read_only(node, folder):
    os.makedirs(f"{folder}/sub")
    sh("mount", "-t", "tmpfs", "tmpfs", f"{folder}/sub")
    container = node.sleeper(node.pod(), mounts=[{"container_path": "/v", "host_path": folder, "readonly": True}])
    assert "Read-only" in node.exec_sh(container, "touch /v/file 2>&1 || true")
    assert node.exec_sh(container, "touch /v/sub/file && echo made") == "made\n"  # as Kubernetes has it


def test_recursive_read_only(node, folder):
    os.makedirs(f"{folder}/sub")
    sh("mount", "-t", "tmpfs", "tmpfs", f"{folder}/sub")
    mounts = [{"container_path": "/v", "host_path": folder, "readonly": True, "recursive_read_only": True}]
    container = node.sleeper(node.pod(), mounts=mounts)
    assert "Read-only" in node.exec_sh(container, "touch /v/file 2>&1 || true")
    assert "Read-only" in node.exec_sh(container, "touch /v/sub/file 2>&1 || true")
    open(f"{folder}/sub/host", "w").close()
    [status] = node.status(container).mounts
    assert status.readonly and status.recursive_read_only


@pytest.mark.parametrize("change", [{"readonly": False}, {"propagation": HOST_TO_CONTAINER}])
def test_what_recursive_read_only_needs(node, folder, change):
    mount = {"container_path": "/v", "host_path": folder, "readonly": True, "recursive_read_only": True} | change
    assert "recursive_read_only" in error_of(lambda: node.create(node.pod(), ["true"], mounts=[mount]), KINDS.INVALID_ARGUMENT)


OLD_RUNTIME = """#!/bin/sh
case "$1" in
--version) echo "old version 1.0" ;;
*) exit 1 ;;
esac
"""


def test_a_runtime_without_it_is_told(own_node, handler):
    """Its features are asked of it; the kubelet knows the refusal by its first word."""
    old = "/tmp/crisp-old-runtime-%d" % os.getpid()
    with open(old, "w") as file:
        file.write(OLD_RUNTIME)
    os.chmod(old, 0o755)
    try:
        node = own_node(config={"runtime.handlers.old": f'path = "{old}"\n'})
        handlers = {h.name: h.features.recursive_read_only_mounts for h in node.client.Status().runtime_handlers}
        assert handlers["old"] is False and handlers[""] is True
        config = node.pod_config()
        pod = node.run_pod(config, handler="old")
        mount = {"container_path": "/v", "host_path": node.daemon.root, "readonly": True, "recursive_read_only": True}
        message = error_of(lambda: node.create((pod, config), ["true"], mounts=[mount]), KINDS.UNKNOWN)
        assert message.startswith("RROUnsupported: ") and "old" in message and "/v" in message
        node.remove_pod(pod)
    finally:
        os.unlink(old)


def test_mount_options(node, folder):
    with open(f"{folder}/program", "w") as file:
        file.write("#!/bin/sh\necho ran\n")
    os.chmod(f"{folder}/program", 0o755)
    sh("mknod", f"{folder}/null", "c", "1", "3")
    os.chmod(f"{folder}/null", 0o666)
    options = ["noexec", "nodev", "nosuid"]
    linux = {"security_context": {"privileged": True}}
    container = node.sleeper(node.privileged_pod(), linux=linux, mounts=[
        {"container_path": "/plain", "host_path": folder},
        {"container_path": "/v", "host_path": folder, "mount_options": options},
    ])
    assert node.exec_sh(container, "/plain/program; echo x >/plain/null && echo written") == "ran\nwritten\n"
    assert node.exec_sh(container, "/v/program 2>&1; echo x 2>&- >/v/null && echo written; true").count("denied") == 1
    line = node.exec_sh(container, "grep ' /v ' /proc/mounts").split()[3].split(",")
    assert {"nosuid", "nodev", "noexec"} <= set(line)
    assert list(node.status(container).mounts[1].mount_options) == options
    assert node.client.Status().features.mount_options


@pytest.mark.parametrize("source, options, expected", [
    ("strictatime", ["noatime"], {"noatime"}),
    ("strictatime", ["relatime", "nodiratime"], {"relatime", "nodiratime"}),
    ("noatime", ["relatime"], {"relatime"}),
])
def test_mount_options_of_access_times(node, folder, source, options, expected):
    sh("mount", "-t", "tmpfs", "-o", source, "crisp-test", folder)
    container = node.sleeper(node.pod(), mounts=[{"container_path": "/v", "host_path": folder, "mount_options": options}])
    line = node.exec_sh(container, "grep ' /v ' /proc/mounts").split()[3].split(",")
    assert {"noatime", "relatime", "nodiratime"} & set(line) == expected


@pytest.mark.parametrize("option", ["suid", "exec", "dev", "rw", "bind", "rshared", "size=1", "idmap", ""])
def test_mount_options_that_give_more(node, folder, option):
    mount = {"container_path": "/v", "host_path": folder, "mount_options": ["nodev", option]}
    assert "mount_options" in error_of(lambda: node.create(node.pod(), ["true"], mounts=[mount]), KINDS.INVALID_ARGUMENT)


# ---- owners ----

def test_owners_are_mapped(node, folder):
    """Whatever the runtime, and nothing changes on disk."""
    for name, owner in (("zero", 0), ("five", 5), ("beyond", 5000)):
        open(f"{folder}/{name}", "w").close()
        os.chown(f"{folder}/{name}", owner, owner)
    os.chmod(folder, 0o777)
    maps = [{"container_id": 0, "host_id": 70000, "length": 1000}]
    mount = {"container_path": "/v", "host_path": folder, "uidMappings": maps, "gidMappings": maps}
    alone = {"container_path": "/file", "host_path": f"{folder}/five", "uidMappings": maps, "gidMappings": maps}
    container = node.sleeper(node.pod(), mounts=[mount, alone])
    assert node.exec_sh(container, "cd /v; stat -c %u:%g zero five beyond /file").split() == [
        "70000:70000", "70005:70005", "65534:65534", "70005:70005"]
    assert os.stat(f"{folder}/five").st_uid == 5
    assert len(node.status(container).mounts[0].uidMappings) == 1
    # Who has a mapped number writes with the number on disk.
    writer = node.sh(node.pod(), "touch /v/made", mounts=[mount], linux={"security_context": {"run_as_user": {"value": 70007}, "run_as_group": {"value": 70007}}})
    assert node.wait_exit(writer).exit_code == 0
    assert os.stat(f"{folder}/made").st_uid == 7
    node.client.RemoveContainer(container_id=container)
    assert not [m for m in mounted_below(node.daemon.run) if container in m]


def test_mapped_owners_follow_the_host_and_leave_it_alone(node, spreading):
    maps = [{"container_id": 0, "host_id": 1000, "length": 10}]
    os.makedirs(f"{spreading}/below")
    sh("mount", "-t", "tmpfs", "tmpfs", f"{spreading}/below")
    container = node.sleeper(node.pod(), mounts=[{"container_path": "/v", "host_path": spreading, "propagation": HOST_TO_CONTAINER,
                                                  "uidMappings": maps, "gidMappings": maps}])
    os.makedirs(f"{spreading}/later")
    sh("mount", "-t", "tmpfs", "tmpfs", f"{spreading}/later")
    assert node.exec_sh(container, "stat -c %u /v; grep -c ' /v/' /proc/mounts").split() == ["1000", "2"]
    node.stop(container)
    node.client.RemoveContainer(container_id=container)
    assert {f"{spreading}/below", f"{spreading}/later"} <= set(mounted_below(spreading))


def test_idmapped_mounts_go_after_a_crash(own_node):
    node = own_node()
    folder = f"{node.daemon.root}/logs"
    maps = [{"container_id": 0, "host_id": 1000, "length": 10}]
    container = node.create(node.pod(), ["true"], mounts=[
        {"container_path": "/v", "host_path": folder, "uidMappings": maps, "gidMappings": maps}])
    assert [m for m in mounted_below(node.daemon.run) if f"{container}/idmaps" in m]
    node.daemon.restart()
    node.start(container)
    assert node.wait_exit(container).exit_code == 0
    wait_for(lambda: not [m for m in mounted_below(node.daemon.run) if container in m], "its mounts to be gone")


def test_a_file_system_without_mapped_owners_is_told(node):
    maps = [{"container_id": 0, "host_id": 1000, "length": 10}]
    mount = {"container_path": "/v", "host_path": "/proc/sys", "uidMappings": maps, "gidMappings": maps}
    message = error_of(lambda: node.create(node.pod(), ["true"], mounts=[mount]), *FAILS)
    assert "/proc/sys" in message and "idmapped" in message


# ---- places ----

def test_a_missing_host_path_is_made(node, folder):
    container = node.sleeper(node.pod(), mounts=[{"container_path": "/v", "host_path": f"{folder}/a/b"}])
    assert os.stat(f"{folder}/a/b").st_mode & 0o7777 == 0o755 and os.stat(f"{folder}/a").st_mode & 0o7777 == 0o755
    node.exec_sh(container, "touch /v/file")
    assert os.listdir(f"{folder}/a/b") == ["file"]


def test_a_host_path_that_is_not_to_be_made(own_daemon, busybox):
    daemon = own_daemon(start=False)
    missing = f"{daemon.root}/hostname"
    daemon.write_config({"runtime": f'absent_mount_sources_to_reject = ["{missing}"]\n'})
    daemon.start()
    node = Node(daemon, busybox)
    pod = node.pod()
    mounts = [{"container_path": "/etc/hostname", "host_path": missing}]
    message = error_of(lambda: node.create(pod, ["true"], mounts=mounts), *FAILS)
    assert missing in message and not os.path.exists(missing)
    with open(missing, "w") as file:
        file.write("named\n")
    assert node.output(pod, "cat /etc/hostname", mounts=mounts) == "named\n"


def test_a_prefix_before_host_paths(own_daemon, busybox):
    daemon = own_daemon(start=False)
    host = f"{daemon.root}/host"
    os.makedirs(f"{host}/data/real")
    with open(f"{host}/data/real/file", "w") as file:
        file.write("below\n")
    os.symlink("/data/real", f"{host}/data/link")
    daemon.write_config({"runtime": f'bind_mount_prefix = "{host}"\n'})
    daemon.start()
    node = Node(daemon, busybox)
    mounts = [{"container_path": "/v", "host_path": "/data/link"}, {"container_path": "/w", "host_path": "/new/one"}]
    container = node.sleeper(node.pod(), mounts=mounts)
    assert node.exec_sh(container, "cat /v/file") == "below\n"
    assert os.path.isdir(f"{host}/new/one") and not os.path.exists("/new/one")
    assert [m.host_path for m in node.status(container).mounts] == ["/data/link", "/new/one"]


def test_a_symlink_counts_as_it_was_when_the_container_was_created(node, folder):
    for name in ("first", "second"):
        os.makedirs(f"{folder}/{name}")
        open(f"{folder}/{name}/{name}", "w").close()
    os.symlink("first", f"{folder}/link")
    pod = node.pod()
    container = node.create(pod, ["/bin/ls", "/v"], mounts=[{"container_path": "/v", "host_path": f"{folder}/link"}])
    os.unlink(f"{folder}/link")
    os.symlink("second", f"{folder}/link")
    node.start(container)
    node.wait_exit(container)
    assert node.text(pod, container) == "first\n"
    [status] = node.status(container).mounts
    assert status.host_path == f"{folder}/link"


def test_a_sub_path_stays_what_the_kubelet_made_it(node, folder):
    """The kubelet opens the sub path, binds it by its descriptor, and hands us the place; what the volume's owner
    then puts there leads nowhere else."""
    os.makedirs(f"{folder}/volume/sub")
    os.makedirs(f"{folder}/subpaths/0")
    open(f"{folder}/volume/sub/mine", "w").close()
    fd = os.open(f"{folder}/volume/sub", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    sh("mount", "--bind", f"/proc/{os.getpid()}/fd/{fd}", f"{folder}/subpaths/0")
    os.close(fd)
    pod = node.pod()
    container = node.create(pod, ["/bin/ls", "/v"], mounts=[{"container_path": "/v", "host_path": f"{folder}/subpaths/0"}])
    os.rename(f"{folder}/volume/sub", f"{folder}/volume/away")
    os.symlink("/etc", f"{folder}/volume/sub")
    node.start(container)
    node.wait_exit(container)
    assert node.text(pod, container) == "mine\n"


@pytest.mark.parametrize("target", ["/", "/etc", "/../../../../etc", "../../../../../../etc", "/proc/1/root/etc", "/proc/self/cwd", "loop"])
def test_an_image_with_evil_symlinks(node, image, folder, target):
    """Where its destinations lead they stay inside, or the container does not start; the host is never touched."""
    name = image("evilmount", {}, [Layer().symlink("evil", target)], tag="t" + str(abs(hash(target)))[:9])
    node.pull(name)
    with open(f"{folder}/file", "w") as file:
        file.write("mounted\n")
    before = sorted(os.listdir("/etc"))
    pod = node.pod()
    container = node.create(pod, ["/bin/sh", "-c", "cat /evil/crisp-evil/file; ls /"], image=name,
                            mounts=[{"container_path": "/evil/crisp-evil", "host_path": folder}])
    try:
        node.start(container)
        node.wait_exit(container)
    except Exception as e:  # noqa: BLE001 - a refusal is right, too
        assert "mount" in str(e) or "file" in str(e) or "link" in str(e), e
    assert sorted(os.listdir("/etc")) == before
    assert not os.path.exists("/crisp-evil") and not mounted_below("/etc/crisp-evil")


@pytest.mark.parametrize("place", ["/proc/x", "/proc/sys", "/proc/1", "/proc/self/attr", "//proc/./sysrq-trigger"])
def test_nothing_is_mounted_into_proc(node, folder, place):
    mount = {"container_path": place, "host_path": folder}
    assert "/proc" in error_of(lambda: node.create(node.pod(), ["true"], mounts=[mount]), KINDS.INVALID_ARGUMENT)


def test_statistics_in_proc_may_be_covered(node, folder):
    with open(f"{folder}/meminfo", "w") as file:
        file.write("MemTotal: 1 kB\n")
    mounts = [{"container_path": "/proc/meminfo", "host_path": f"{folder}/meminfo"}]
    assert node.output(node.pod(), "cat /proc/meminfo", mounts=mounts) == "MemTotal: 1 kB\n"


def test_of_two_for_one_place_the_last_counts(node, folder):
    for name in ("one", "two"):
        os.makedirs(f"{folder}/{name}")
        open(f"{folder}/{name}/{name}", "w").close()
    mounts = [{"container_path": "/v", "host_path": f"{folder}/one"}, {"container_path": "/v/", "host_path": f"{folder}/two"}]
    container = node.sleeper(node.pod(), mounts=mounts)
    assert node.exec_sh(container, "ls /v") == "two\n"
    assert len(node.status(container).mounts) == 2


def test_files_over_files(node, folder):
    for name in ("passwd", "new"):
        with open(f"{folder}/{name}", "w") as file:
            file.write(name + "\n")
    mounts = [{"container_path": "/etc/passwd", "host_path": f"{folder}/passwd", "readonly": True},
              {"container_path": "/made/for/it", "host_path": f"{folder}/new"}]
    assert node.output(node.pod(), "cat /etc/passwd /made/for/it", mounts=mounts) == "passwd\nnew\n"


def test_the_hosts_devices_and_sys_are_not_covered(node, folder):
    """A client that mounts all of /dev or /sys gets that, and nothing of ours is mounted into it."""
    linux = {"security_context": {"privileged": True}}
    container = node.create(node.privileged_pod(), ["true"], linux=linux, mounts=[
        {"container_path": "/dev", "host_path": "/dev"}, {"container_path": "/sys/", "host_path": "/sys"}])
    places = [m["destination"] for m in spec_of(node, container)["mounts"]]
    assert "/dev" in places and not [p for p in places if p.startswith(("/dev/", "/sys/f"))]


def test_status_is_as_the_kubelet_said(node, folder):
    mounts = [
        {"container_path": "/a", "host_path": folder, "readonly": True},
        {"container_path": "/dev/termination-log", "host_path": f"{folder}/log", "mount_options": ["noexec"]},
    ]
    open(f"{folder}/log", "w").close()
    container = node.sh(node.pod(), "echo the end >/dev/termination-log", mounts=mounts)
    node.wait_exit(container)
    assert list(node.status(container).mounts) == [pb.Mount(**m) for m in mounts]
    node.client.RemoveContainer(container_id=container)
    with open(f"{folder}/log") as file:
        assert file.read() == "the end\n"
