"""Pods whose users are others on the host: user namespaces, and what they change in all else."""
import fcntl
import json
import os
import shutil
import stat
import subprocess

import pytest
from kit.image import Layer
from kit.wait import wait_for
from support import CONTAINER, KINDS, NODE, POD, READY, RUNNING, TARGET, Node, error_of

pytestmark = pytest.mark.handler

HOST, LENGTH = 100000, 65536


def ranges(host=HOST, length=LENGTH, container=0):
    return [{"container_id": container, "host_id": host, "length": length}]


def users(host=HOST, length=LENGTH, mode=POD):
    return {"mode": mode, "uids": ranges(host, length), "gids": ranges(host, length)}


@pytest.fixture
def userns(node):
    wait_for(lambda: handler_features(node).user_namespaces, "the node to know that it can")
    return node


def handler_features(node):
    return next(h for h in node.client.Status().runtime_handlers if not h.name).features


def userns_pod(node, host=HOST, length=LENGTH, more=None, **options):
    linux = node.namespaces(userns_options=users(host, length), **options)
    return node.pod(linux={**linux, **(more or {})})


def link(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def host_uid(pid):
    return os.stat(f"/proc/{pid}").st_uid


# ---- what it is ----

def test_users_are_others_on_the_host(userns):
    node = userns
    pod = userns_pod(node)
    container = node.sleeper(pod)
    pid = node.pid_of(container)
    assert node.exec_sh(container, "cat /proc/self/uid_map").split() == ["0", str(HOST), str(LENGTH)]
    assert node.exec_sh(container, "cat /proc/self/gid_map").split() == ["0", str(HOST), str(LENGTH)]
    assert node.exec_sh(container, "id -u; id -g").split() == ["0", "0"]
    assert host_uid(pid) == HOST
    user = node.status(container).user.linux
    assert (user.uid, user.gid) == (0, 0)
    options = node.pod_status(pod[0]).linux.namespaces.options.userns_options
    assert options.mode == POD and options.uids[0].host_id == HOST and options.gids[0].length == LENGTH


def owner_of_namespace(path):
    """The inode of the user namespace that owns the namespace of this file."""
    with open(path) as file:
        fd = fcntl.ioctl(file, 0xB701)  # NS_GET_USERNS
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def test_the_other_namespaces_are_made_inside_it_and_pinned(userns):
    node = userns
    pod = userns_pod(node, pid=POD)
    container = node.sleeper(pod)
    pid = node.pid_of(container)
    own = os.stat(f"/proc/{pid}/ns/user").st_ino
    assert own != os.stat("/proc/self/ns/user").st_ino
    for kind in ("net", "ipc", "uts", "pid", "mnt"):
        assert owner_of_namespace(f"/proc/{pid}/ns/{kind}") == own, kind
    info = json.loads(node.client.PodSandboxStatus(pod_sandbox_id=pod[0], verbose=True).info["info"])
    pins = {each["type"]: each["path"] for each in info["runtimeSpec"]["linux"]["namespaces"]}
    assert {os.stat(path).st_ino for path in pins.values()} == {
        os.stat(f"/proc/{pid}/ns/{kind}").st_ino for kind in ("net", "ipc", "uts", "pid", "user")}


def test_message_queues_are_the_pods_own(userns, tmp_path):
    """crun makes this mount before it enters the user namespace: in the pod's IPC namespace, not in the host's."""
    node = userns
    host = tmp_path / "mqueue"
    host.mkdir()
    subprocess.run(["mount", "-t", "mqueue", "mqueue", host], check=True)
    theirs = host / f"of-the-host-{node.daemon.tag}"
    theirs.touch()
    try:
        pod = userns_pod(node)
        one, two = node.sleeper(pod, name="one"), node.sleeper(pod, name="two")
        for container in (one, two):
            assert node.exec_sh(container, "grep -c ' /dev/mqueue .* mqueue ' /proc/self/mountinfo; ls /dev/mqueue") == "1\n"
            assert int(node.exec_sh(container, "stat -c %d /dev/mqueue")) != os.stat(host).st_dev
        node.exec_sh(one, "touch /dev/mqueue/mine")
        assert node.exec_sh(two, "ls /dev/mqueue") == "mine\n"
        assert theirs.name in os.listdir(host) and "mine" not in os.listdir(host)
    finally:
        theirs.unlink()
        subprocess.run(["umount", host], check=True)


def test_the_images_files_are_its_roots(userns, image):
    node = userns
    layer = Layer("gzip")
    layer.file("owned/root", "r\n")
    layer.file("owned/user", "u\n", uid=1000, gid=1001)
    name = image("userns-owners", extra=[layer])
    node.pull(name)
    pod = userns_pod(node)
    container = node.sleeper(pod, image=name)
    assert node.exec_sh(container, "stat -c %u:%g /owned/root /owned/user / /bin/busybox /etc/mtab 2>&1").split()[:4] == [
        "0:0", "1000:1001", "0:0", "0:0"]
    # Also of what was copied up, which is then the host's IDs on disk.
    node.exec_sh(container, "echo more >>/owned/user; chown 5:6 /owned/root; echo new >/new")
    upper = f"{node.daemon.state}/containers/{container}/upper"
    owners = {n: (os.lstat(f"{upper}/{n}").st_uid, os.lstat(f"{upper}/{n}").st_gid) for n in ("owned/user", "owned/root", "new")}
    assert owners == {"owned/user": (HOST + 1000, HOST + 1001), "owned/root": (HOST + 5, HOST + 6), "new": (HOST, HOST)}
    # The image is as it was: without a user namespace its owners are those of before.
    plain = node.sleeper(node.pod(), image=name)
    assert node.exec_sh(plain, "stat -c %u:%g /owned/root /owned/user").split() == ["0:0", "1000:1001"]


def test_what_the_node_puts_into_it_is_its_roots(userns):
    node = userns
    pod = userns_pod(node, more={})
    container = node.sleeper(pod, working_dir="/made/for/it")
    places = "/etc/resolv.conf /etc/hostname /dev/shm /run/.containerenv /made/for/it /etc/mtab /dev"
    out = node.exec_sh(container, f"stat -c '%u:%g %n' {places}; echo x >/dev/shm/x && echo y >>/etc/hostname && cat /dev/shm/x")
    assert out.splitlines()[-1] == "x"
    assert all(line.startswith("0:0 ") for line in out.splitlines()[:-1]), out


def test_a_user_of_the_image_and_of_the_request(userns, image):
    node = userns
    name = image("userns-user", config={"User": "1000:1001"})
    node.pull(name)
    pod = userns_pod(node)
    container = node.sleeper(pod, image=name)
    assert host_uid(node.pid_of(container)) == HOST + 1000
    assert node.status(container).user.linux.uid == 1000
    other = node.sleeper(pod, name="other", linux={"security_context": {"run_as_user": {"value": 7}, "supplemental_groups": [9]}})
    assert host_uid(node.pid_of(other)) == HOST + 7
    assert "9" in node.exec_sh(other, "id -G").split()


def test_it_may_not_harm_the_host(userns, tmp_path):
    node = userns
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o600)
    os.chmod(tmp_path, 0o711)
    pod = userns_pod(node)
    container = node.sleeper(pod, mounts=[{"container_path": "/secret", "host_path": str(secret)}])
    response = node.exec(container, "/bin/sh", "-c", "cat /secret")
    assert response.exit_code != 0 and b"ermission" in response.stderr
    assert node.exec_sh(container, "stat -c %u /secret").strip() == "65534"


# ---- volumes ----

def test_volumes_with_mapped_owners(userns, tmp_path):
    node = userns
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "there").write_text("t")
    mount = {"container_path": "/volume", "host_path": str(volume), "uidMappings": ranges(), "gidMappings": ranges()}
    pod = userns_pod(node)
    container = node.sleeper(pod, mounts=[mount])
    assert node.exec_sh(container, "stat -c %u:%g /volume/there; echo new >/volume/new; chown 3:4 /volume/new") == "0:0\n"
    st = os.stat(volume / "new")
    assert (st.st_uid, st.st_gid) == (3, 4)
    assert os.stat(volume / "there").st_uid == 0


def test_images_as_volumes(userns, image):
    node = userns
    layer = Layer("gzip")
    layer.file("data/file", "content\n", uid=12)
    name = image("userns-volume", extra=[layer])
    node.pull(name)
    pod = userns_pod(node)
    mount = {"container_path": "/image", "image": {"image": name}, "readonly": True}
    container = node.sleeper(pod, mounts=[mount])
    assert node.exec_sh(container, "stat -c %u /image/data/file; cat /image/data/file; stat -c %u /image/bin/busybox") == "12\ncontent\n0\n"


def test_devices(userns):
    node = userns
    pod = userns_pod(node)
    devices = [{"host_path": "/dev/zero", "container_path": "/dev/another", "permissions": "rwm"}]
    container = node.sleeper(pod, devices=devices)
    assert node.exec_sh(container, "stat -c %t:%T /dev/another; head -c 3 /dev/another | wc -c; echo x >/dev/null") == "1:5\n3\n"


# ---- what lives in it ----

def test_a_shared_pid_namespace_is_held_inside(userns):
    node = userns
    pod = userns_pod(node, pid=POD)
    first = node.sleeper(pod, name="first")
    second = node.sleeper(pod, name="second")
    holder = json.loads(node.client.PodSandboxStatus(pod_sandbox_id=pod[0], verbose=True).info["info"])["pid"]
    assert host_uid(holder) == HOST
    assert link(holder, "user") == link(node.pid_of(first), "user")
    assert link(holder, "pid") == link(node.pid_of(second), "pid")
    assert "crisp-pause" in node.exec_sh(second, "cat /proc/1/cmdline")
    assert node.exec_sh(second, "ls /proc/1/root/ 2>&1; ps -o pid,args | grep -c 'sleep 1000'").splitlines()[-1] >= "2"


def test_a_container_joins_anothers_pids(userns):
    node = userns
    pod = userns_pod(node)
    main = node.sleeper(pod, name="main")
    options = {"network": POD, "pid": TARGET, "ipc": POD, "target_id": main, "userns_options": users()}
    debug = node.sleeper(pod, name="debug", linux={"security_context": {"namespace_options": options}})
    assert link(node.pid_of(debug), "pid") == link(node.pid_of(main), "pid")


def test_the_network_works(userns):
    node = userns
    pod, other = userns_pod(node), node.pod()
    admin = {"security_context": {"capabilities": {"add_capabilities": ["NET_ADMIN"]}}}
    server = node.sh(pod, "mkdir /www; echo served >/www/index.html; httpd -f -p 8080 -h /www", linux=admin)
    client = node.sleeper(other)
    address = node.pod_status(pod[0]).network.ip
    wait_for(lambda: node.exec(client, "wget", "-qO-", f"http://{address}:8080/").stdout == b"served\n", "an answer")
    assert node.exec_sh(server, "ip link set lo down && ip link set lo up && echo may") == "may\n"


def test_sysctls_and_pings(userns):
    node = userns
    sysctls = {"net.ipv4.ip_local_port_range": "3000 4000", "kernel.shmmni": "77"}
    pod = userns_pod(node, more={"sysctls": sysctls})
    container = node.sleeper(pod)
    assert node.exec_sh(container, "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shmmni").split() == ["3000", "4000", "77"]
    assert node.exec_sh(container, "cat /proc/sys/net/ipv4/ping_group_range").split() == ["0", str(LENGTH - 1)]
    assert node.exec_sh(container, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start").strip() == "0"
    asked = userns_pod(node, host=300000, more={"sysctls": {"net.ipv4.ping_group_range": "5 10"}})
    assert node.exec_sh(node.sleeper(asked), "cat /proc/sys/net/ipv4/ping_group_range").split() == ["5", "10"]
    message = error_of(lambda: userns_pod(node, more={"sysctls": {"net.ipv4.ping_group_range": f"5 {LENGTH}"}}), KINDS.INVALID_ARGUMENT)
    assert "ping_group_range" in message


def test_the_hosts_network_with_other_users(userns):
    node = userns
    assert node.client.Status().features.user_namespaces_host_network
    pod = userns_pod(node, network=NODE)
    container = node.sleeper(pod)
    pid = node.pid_of(container)
    assert link(pid, "net") == link("self", "net") and link(pid, "user") != link("self", "user")
    assert node.exec_sh(container, "ls /sys/class/net/lo/mtu && ls -d /sys/fs/cgroup").splitlines()[-1] == "/sys/fs/cgroup"
    assert node.exec(container, "/bin/sh", "-c", "echo 1 >/sys/kernel/profiling").exit_code != 0
    with open(f"/proc/{pid}/mounts") as file:
        assert [l.split()[3].split(",")[0] for l in file if l.split()[1] == "/sys"][-1] == "ro"
    assert node.exec(container, "ip", "link", "set", "lo", "down").exit_code != 0


def test_capabilities_seccomp_and_read_only_roots(userns):
    node = userns
    pod = userns_pod(node)
    security = {"capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["CHOWN"]}, "readonly_rootfs": True,
                "no_new_privs": True, "seccomp": {"profile_type": 0}}
    container = node.sleeper(pod, linux={"security_context": security})
    status = dict(l.split(":\t", 1) for l in node.exec_sh(container, "cat /proc/1/status").splitlines() if ":\t" in l)
    assert status["CapBnd"].strip() == "0000000000000001"
    assert status["NoNewPrivs"].strip() == "1" and status["Seccomp"].strip() == "2"
    assert node.exec(container, "/bin/sh", "-c", "echo x >/x").exit_code != 0


def test_privileged_is_so_inside_alone(userns):
    node = userns
    linux = node.namespaces(userns_options=users())
    linux["security_context"]["privileged"] = True
    pod = node.pod(linux=linux)
    container = node.sleeper(pod, linux={"security_context": {"privileged": True}})
    assert node.exec_sh(container, "mount -t tmpfs none /mnt 2>/dev/null || { mkdir -p /m; mount -t tmpfs none /m; }; echo mounted") == "mounted\n"
    assert host_uid(node.pid_of(container)) == HOST
    assert node.exec(container, "/bin/sh", "-c", "echo 1 >/proc/sys/kernel/panic").exit_code != 0
    assert node.exec(container, "/bin/sh", "-c", "cat /dev/vda /dev/sda /dev/nvme0n1 2>/dev/null | head -c 1 | grep -q .").exit_code != 0


# ---- its life ----

def test_exec_logs_stats_and_stop(userns):
    node = userns
    pod = userns_pod(node)
    container = node.sh(pod, "trap 'exit 7' TERM; echo begins; head -c 2000000 /dev/zero >/written; while :; do sleep 0.1; done")
    node.wait_log(container, "begins")
    assert node.exec_sh(container, "touch /by-exec; stat -c %u /by-exec") == "0\n"
    def usage():
        stats = node.client.ContainerStats(container_id=container).stats
        return stats.writable_layer.used_bytes.value >= 2000000
    wait_for(usage, "the writable layer's usage", 60)
    node.stop(container, timeout=20)
    assert node.status(container).exit_code == 7


def test_a_terminal_and_a_failing_command(userns):
    node = userns
    pod = userns_pod(node)
    assert node.output(pod, "tty; stat -c %u $(tty)", tty=True).split() == ["/dev/pts/0", "0"]
    message = error_of(lambda: node.run(pod, ["/no/such/program"], name="failing"), *set(KINDS) - {KINDS.OK})
    assert "/no/such/program" in message


def test_it_outlives_the_daemon(userns):
    node = userns
    pod = userns_pod(node, pid=POD)
    container = node.sleeper(pod)
    before = link(node.pid_of(container), "user")
    node.daemon.restart()
    assert node.pod_status(pod[0]).state == READY
    assert node.status(container).state == RUNNING
    again = node.sleeper(pod, name="again")
    assert link(node.pid_of(again), "user") == before
    assert host_uid(node.pid_of(again)) == HOST
    assert node.exec_sh(again, "stat -c %u /bin/busybox") == "0\n"


def test_out_of_memory_is_told(userns):
    node = userns
    pod = userns_pod(node)
    resources = {"resources": {"memory_limit_in_bytes": 16 << 20}}
    container = node.sh(pod, "a=x; while :; do a=$a$a; done", linux=resources)
    status = node.wait_exit(container)
    assert (status.reason, status.exit_code) == ("OOMKilled", 137)


def test_others_on_the_host_do_not_pass_to_its_files(userns):
    node = userns
    pod, plain = userns_pod(node), node.pod()
    container, other = node.sleeper(pod), node.sleeper(plain)
    run = f"{node.daemon.run}/containers"
    assert stat.S_IMODE(os.stat(run).st_mode) == 0o711
    own = os.stat(f"{run}/{container}")
    assert (stat.S_IMODE(own.st_mode), own.st_uid, own.st_gid) == (0o710, 0, HOST)
    assert stat.S_IMODE(os.stat(f"{run}/{other}").st_mode) == 0o700


# ---- what is refused ----

def test_maps_that_cannot_be_are_refused(userns):
    node = userns

    def refused(uids, gids=None, mode=POD, **options):
        linux = node.namespaces(userns_options={"mode": mode, "uids": uids, "gids": ranges() if gids is None else gids}, **options)
        return error_of(lambda: node.run_pod(linux=linux), KINDS.INVALID_ARGUMENT)

    assert "userns_options.uids" in refused([]) and "not mapped" in refused([])
    assert "userns_options.gids" in refused(ranges(), [])
    assert "ID 0 is not mapped" in refused(ranges(container=1))
    assert "overlap" in refused(ranges() + ranges(host=200000))
    assert "overlap" in refused(ranges() + ranges(container=LENGTH))
    assert "empty" in refused(ranges(length=0))
    assert "past the last ID" in refused(ranges(host=2 ** 32 - 10))
    many = [{"container_id": i, "host_id": HOST + 2 * i, "length": 1} for i in range(341)]
    assert "340" in refused(many)
    assert "mode" in refused([], [], mode=CONTAINER)
    assert "mode" in refused([], [], mode=TARGET)
    assert "NODE" in refused(ranges(), mode=NODE)
    assert "pid" in refused(ranges(), pid=NODE)
    assert "ipc" in refused(ranges(), ipc=NODE)


def test_several_ranges(userns):
    node = userns
    split = ranges(length=10) + ranges(host=500000, length=100, container=10)
    linux = node.namespaces(userns_options={"mode": POD, "uids": split, "gids": split})
    container = node.sleeper(node.pod(linux=linux))
    assert node.exec_sh(container, "touch /f; chown 11 /f; stat -c %u /f") == "11\n"
    assert os.stat(f"{node.daemon.state}/containers/{container}/upper/f").st_uid == 500001


def test_a_container_says_the_same_as_its_pod(userns):
    node = userns
    pod, plain = userns_pod(node), node.pod()

    def refused(pod, **options):
        options = {"network": POD, "pid": CONTAINER, "ipc": POD, **options}
        return error_of(lambda: node.sleeper(pod, linux={"security_context": {"namespace_options": options}}), KINDS.INVALID_ARGUMENT)

    assert "userns_options" in refused(pod, userns_options=users(host=200000))
    assert "userns_options" in refused(pod)
    assert "userns_options" in refused(plain, userns_options=users())
    assert "pid" in refused(pod, userns_options=users(), pid=NODE)
    # Saying nothing is as good as saying that they are the host's.
    node.sleeper(plain, linux={"security_context": {"namespace_options": {"network": POD, "pid": CONTAINER, "ipc": POD, "userns_options": {"mode": NODE}}}})


def test_a_runtime_that_cannot_is_told_before_anything_is_made(own_node, tmp_path):
    real = shutil.which("runc", path="/usr/sbin:/usr/bin") or shutil.which("crun", path="/usr/sbin:/usr/bin")
    wrapper = tmp_path / "old"
    wrapper.write_text(f'#!/bin/sh\n[ "$1" = features ] && exit 1\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    node = own_node(config={"runtime.handlers.old": f'kind = "oci"\npath = "{wrapper}"\n'})
    if "crun" in real:
        pytest.skip("crun tells its features by its version")
    wait_for(lambda: handler_features(node).user_namespaces, "the node to know that it can")
    handlers = {h.name: h.features.user_namespaces for h in node.client.Status().runtime_handlers}
    assert handlers["old"] is False
    message = error_of(lambda: node.run_pod(linux=node.namespaces(userns_options=users()), handler="old"), KINDS.FAILED_PRECONDITION)
    assert "runtime handler old" in message and "user namespace" in message
    assert not os.listdir(f"{node.daemon.state}/pods")


def test_a_folder_that_lets_nobody_pass_is_told(own_daemon, busybox):
    daemon = own_daemon(start=False)
    os.chmod(daemon.root, 0o700)
    daemon.start()
    node = Node(daemon, busybox)
    message = error_of(lambda: node.run_pod(linux=node.namespaces(userns_options=users())), KINDS.FAILED_PRECONDITION)
    assert "user namespace" in message and daemon.root in message
    assert not handler_features(node).user_namespaces
    node.sleeper(node.pod())


# ---- by annotation, and for all ----

MODE = "userns-mode.crio.io"
OLD = "io.kubernetes.cri-o.userns-mode"


@pytest.fixture
def by_annotation(own_node):
    def make(more="", range="900000:200000", allowed=MODE):
        runtime = f'allowed_annotations = ["{allowed}"]\nuserns_range = "{range}"\n{more}'
        return own_node(config={"runtime": runtime})
    return make


def annotated(node, value, name=MODE, **more):
    return node.pod(annotations={name: value}, **more)


def run_as(node, user, group=None):
    linux = node.namespaces()
    linux["security_context"]["run_as_user"] = {"value": user}
    if group is not None:
        linux["security_context"]["run_as_group"] = {"value": group}
    return linux


def uid_map(node, container):
    lines = node.exec_sh(container, "cat /proc/self/uid_map").splitlines()
    return sorted(tuple(int(n) for n in line.split()) for line in lines)


def test_automatic_ranges_are_disjoint_and_given_back(by_annotation):
    node = by_annotation()
    first, second = annotated(node, "auto"), annotated(node, "auto:size=1000", OLD)
    assert uid_map(node, node.sleeper(first)) == [(0, 900000, 65536)]
    assert uid_map(node, node.sleeper(second)) == [(0, 965536, 1000)]
    # They are kept by those that live, also by a later daemon.
    node.daemon.restart()
    third = annotated(node, "auto:size=65536")
    assert uid_map(node, node.sleeper(third)) == [(0, 966536, 65536)]
    message = error_of(lambda: annotated(node, "auto:size=80000"), KINDS.RESOURCE_EXHAUSTED)
    assert MODE in message
    # A stopped pod's files are still there.
    node.client.StopPodSandbox(pod_sandbox_id=first[0])
    error_of(lambda: annotated(node, "auto:size=80000"), KINDS.RESOURCE_EXHAUSTED)
    node.client.RemovePodSandbox(pod_sandbox_id=first[0])
    assert uid_map(node, node.sleeper(annotated(node, "auto:size=10"))) == [(0, 900000, 10)]


def test_ranges_of_cri_are_kept_from_automatic_ones(by_annotation):
    node = by_annotation()
    userns_pod(node, host=900010, length=10)
    assert uid_map(node, node.sleeper(annotated(node, "auto:size=100"))) == [(0, 900020, 100)]


def test_who_keeps_his_id(by_annotation):
    node = by_annotation()
    pod = annotated(node, "auto:size=3000;keep-id=true", linux=run_as(node, 1000, 1001))
    me = {"security_context": {"run_as_user": {"value": 1000}, "run_as_group": {"value": 1001}}}
    container = node.sleeper(pod, linux=me)
    assert uid_map(node, container) == [(0, 900000, 1000), (1000, 1000, 1), (1001, 901001, 1999)]
    assert host_uid(node.pid_of(container)) == 1000
    assert node.exec_sh(container, "id -u; id -g").split() == ["1000", "1001"]


def test_who_becomes_root(by_annotation):
    node = by_annotation()
    me = {"security_context": {"run_as_user": {"value": 1000}}}
    for mode in ("auto:size=3000;map-to-root=true", "auto:size=3000"):
        pod = annotated(node, mode, linux=run_as(node, 1000))
        container = node.sleeper(pod, linux=me)
        assert uid_map(node, container)[0] == (0, 1000, 1)
        assert host_uid(node.pid_of(container)) == 1000
        assert node.exec_sh(container, "id -u").strip() == "0"
        assert node.status(container).user.linux.uid == 0
        node.remove_pod(pod[0])


def test_private_ranges_and_their_floor(by_annotation):
    node = by_annotation(more="minimum_mappable_uid = 5000\nminimum_mappable_gid = 5000\n")
    pod = annotated(node, "private:uidmapping=0:700000:100;gidmapping=0:800000:200", linux=run_as(node, 0))
    linux = run_as(node, 6000)
    pod = annotated(node, "private:uidmapping=0:700000:100", linux=linux)
    assert uid_map(node, node.sleeper(pod)) == [(0, 700000, 100), (100, 6000, 1)]
    for mode, user in (("private:uidmapping=0:4000:100", 6000), ("private:uidmapping=0:700000:100", 4000)):
        message = error_of(lambda: annotated(node, mode, linux=run_as(node, user)), KINDS.PERMISSION_DENIED)
        assert "minimum_mappable_uid" in message
    assert "minimum_mappable_uid" in error_of(lambda: userns_pod(node, host=4000), KINDS.PERMISSION_DENIED)


def test_annotations_that_cannot_be(by_annotation):
    node = by_annotation()
    for mode, word in (("host", "neither auto nor private"), ("auto:size=x", "size"), ("auto:what=1", "what"), ("auto:size", "NAME=VALUE"),
                       ("auto:keep-id=true;map-to-root=true", "exclude"), ("private", "uid_mappings"),
                       ("private:uidmapping=0:5:1", "run_as_user"), ("private:uidmapping=1-2", "CONTAINER:HOST:LENGTH")):
        message = error_of(lambda: annotated(node, mode), KINDS.INVALID_ARGUMENT, KINDS.FAILED_PRECONDITION)
        assert word in message and MODE in message
    linux = {"linux": node.namespaces(pid=NODE)}
    assert "PID" in error_of(lambda: annotated(node, "auto", **linux), KINDS.INVALID_ARGUMENT)


def test_the_annotation_does_nothing_where_it_is_not_allowed(userns):
    node = userns
    container = node.sleeper(annotated(node, "auto"))
    assert link(node.pid_of(container), "user") == link("self", "user")


def test_static_ranges_for_all_that_can(own_node):
    node = own_node(config={"runtime": 'uid_mappings = "0:400000:65536"\ngid_mappings = "0:500000:65536"\n'})
    container = node.sleeper(node.pod())
    assert uid_map(node, container) == [(0, 400000, 65536)]
    assert node.exec_sh(container, "cat /proc/self/gid_map").split() == ["0", "500000", "65536"]
    for pod in (node.pod(linux=node.namespaces(pid=NODE)), node.privileged_pod(),
                node.pod(linux=node.namespaces(userns_options={"mode": NODE}))):
        container = node.sleeper(pod)
        assert link(node.pid_of(container), "user") == link("self", "user")


def test_ranges_of_the_user_containers(own_node):
    text = open("/etc/subuid").read() if os.path.exists("/etc/subuid") else ""
    if "containers:" in text:
        pytest.skip("this machine has ranges of the user containers")
    node = own_node(config={"runtime": f'allowed_annotations = ["{MODE}"]\n'})
    message = error_of(lambda: annotated(node, "auto"), KINDS.FAILED_PRECONDITION)
    assert "/etc/subuid" in message and "userns_range" in message


# ---- the node's own additions ----

def test_copies_of_the_nodes_mounts_are_the_pods(own_node, tmp_path):
    secret = tmp_path / "secrets"
    secret.mkdir()
    (secret / "key").write_text("k\n")
    (secret / "key").chmod(0o600)
    file = tmp_path / "mounts.conf"
    file.write_text(f"{secret}:/run/secrets\n")
    node = own_node(config={"runtime": f'default_mounts_file = "{file}"\nimage_volumes = "bind"\n'})
    wait_for(lambda: handler_features(node).user_namespaces, "the node to know that it can")
    container = node.sleeper(userns_pod(node))
    assert node.exec_sh(container, "stat -c %u:%g /run/secrets/key; cat /run/secrets/key") == "0:0\nk\n"
    assert os.stat(secret / "key").st_uid == 0


@pytest.mark.parametrize("kind", ["bind", "mkdir"])
def test_volumes_that_an_image_declares(own_node, image, kind):
    layer = Layer("gzip")
    layer.file("data/there", "t\n", uid=33)
    name = image("userns-declares", config={"Volumes": {"/data": {}, "/other": {}}}, extra=[layer])
    node = own_node(config={"runtime": f'image_volumes = "{kind}"\n'})
    node.pull(name)
    container = node.sleeper(userns_pod(node), image=name, linux={"security_context": {"run_as_user": {"value": 33}}})
    assert node.exec_sh(container, "stat -c %u /data/there; touch /other/mine && stat -c %u /other /other/mine") == "33\n33\n33\n"


def test_layers_that_another_store_lends(own_daemon, busybox, tmp_path):
    lender = Node(own_daemon(), busybox)
    folder = f"{tmp_path}/lent"
    os.mkdir(folder)
    subprocess.run(["mount", "--bind", f"{lender.daemon.state}/images", folder], check=True)
    try:
        borrower = own_daemon(config={"images": f'additional_stores = ["{folder}"]\n'}, start=False)
        borrower.start()
        node = Node(borrower, busybox)
        wait_for(lambda: handler_features(node).user_namespaces, "the node to know that it can")
        assert not os.listdir(f"{borrower.state}/images/layers")
        container = node.sleeper(userns_pod(node))
        assert node.exec_sh(container, "touch /new; stat -c %u / /bin/busybox /new") == "0\n0\n0\n"
        assert not os.path.exists(f"{borrower.run}/containers/{container}/rootfs.lower")
        node.remove_pod(node.client.ListPodSandbox().items[0].id)
        borrower.terminate()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_nothing_of_the_mapped_layers_stays_mounted(userns):
    node = userns
    container = node.sleeper(userns_pod(node))
    run = f"{node.daemon.run}/containers/{container}"
    with open("/proc/self/mounts") as file:
        assert [l.split()[1] for l in file if l.split()[1].startswith(run)] == [f"{run}/rootfs"]
    assert "rootfs.lower" not in os.listdir(run)
