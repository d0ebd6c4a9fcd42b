"""What a container's process may: who it is, what it is capable of, what of the kernel it sees."""
import os

import pytest
from kit.image import Image, Layer
from support import KINDS, error_of

pytestmark = pytest.mark.handler

MERGE, STRICT = range(2)
RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = range(3)
NAMES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast "
    "net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice "
    "sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm "
    "block_suspend audit_read perfmon bpf checkpoint_restore"
).split()
DEFAULT = set("audit_write chown dac_override fowner fsetid kill mknod net_bind_service net_raw setfcap setgid setpcap setuid sys_chroot".split())


def secured(**context):
    return {"security_context": context}


def privileged(node, **more):
    linux = node.namespaces(**more)
    linux["security_context"]["privileged"] = True
    return linux


def sets(status):
    """Capabilities of a /proc/PID/status: {"CapInh": {...}, ...}"""
    found = {}
    for line in status.splitlines():
        if line.startswith("Cap"):
            key, value = line.split()
            found[key.rstrip(":")] = {name for i, name in enumerate(NAMES) if int(value, 16) >> i & 1}
    return found


def own_sets():
    with open("/proc/self/status") as file:
        return sets(file.read())


def capabilities_of(node, pod, name="main", command=("grep", "^Cap", "/proc/self/status"), **context):
    container = node.run(pod, list(command), linux=secured(**context), name=name)
    assert node.wait_exit(container).exit_code == 0
    return sets(node.text(pod, container))


# ---- capabilities ----

ALL = own_sets()["CapBnd"] & own_sets()["CapPrm"]


@pytest.mark.parametrize("wanted, left", [
    ({}, DEFAULT),
    ({"add_capabilities": ["NET_ADMIN"]}, DEFAULT | {"net_admin"}),
    ({"add_capabilities": ["CAP_NET_ADMIN", "cap_sys_time"]}, DEFAULT | {"net_admin", "sys_time"}),
    ({"drop_capabilities": ["CHOWN", "CAP_KILL"]}, DEFAULT - {"chown", "kill"}),
    ({"drop_capabilities": ["ALL"]}, set()),
    ({"drop_capabilities": ["ALL"], "add_capabilities": ["chown"]}, {"chown"}),
    ({"add_capabilities": ["ALL"]}, ALL),
    ({"add_capabilities": ["all"], "drop_capabilities": ["SYS_ADMIN"]}, ALL - {"sys_admin"}),
], ids=lambda value: "" if isinstance(value, set) else str(value))
def test_capabilities(node, wanted, left):
    left = left & ALL
    assert capabilities_of(node, node.pod(), capabilities=wanted) == {
        "CapBnd": left, "CapPrm": left, "CapEff": left, "CapInh": set(), "CapAmb": set(),
    }


def test_ambient_capabilities_hold_for_a_user(node):
    pod = node.pod()
    user = {"run_as_user": {"value": 1000}}
    plain = capabilities_of(node, pod, name="plain", capabilities={"add_capabilities": ["NET_ADMIN"]}, **user)
    assert plain["CapPrm"] == plain["CapEff"] == plain["CapAmb"] == set() and "net_admin" in plain["CapBnd"]
    kept = capabilities_of(node, pod, name="kept", capabilities={"add_ambient_capabilities": ["NET_ADMIN", "CAP_CHOWN"]}, **user)
    ambient = {"net_admin", "chown"}
    assert kept["CapAmb"] == kept["CapInh"] == kept["CapPrm"] == kept["CapEff"] == ambient
    assert kept["CapBnd"] == (DEFAULT | ambient) & ALL
    alone = capabilities_of(node, pod, name="alone", capabilities={"drop_capabilities": ["ALL"], "add_ambient_capabilities": ["KILL"]}, **user)
    assert set(map(frozenset, alone.values())) == {frozenset({"kill"})}
    dropped = capabilities_of(node, pod, name="dropped", capabilities={"drop_capabilities": ["KILL"], "add_ambient_capabilities": ["KILL"]}, **user)
    assert not any("kill" in each for each in dropped.values())


@pytest.mark.parametrize("key", ["add_capabilities", "drop_capabilities", "add_ambient_capabilities"])
def test_an_unknown_capability_is_named(node, key):
    pod = node.pod()
    error = error_of(lambda: node.create(pod, ["true"], linux=secured(capabilities={key: ["NO_SUCH"]})), KINDS.INVALID_ARGUMENT)
    assert "config.linux.security_context.capabilities" in error and "NO_SUCH" in error


@pytest.mark.skipif(not set(NAMES) - ALL, reason="this machine has all capabilities")
def test_a_capability_that_the_daemon_has_not_is_named(node):
    missing = sorted(set(NAMES) - ALL)[0]
    pod = node.pod()
    for key in ("add_capabilities", "add_ambient_capabilities"):
        error = error_of(lambda: node.create(pod, ["true"], linux=secured(capabilities={key: [missing]})), KINDS.FAILED_PRECONDITION)
        assert missing.upper() in error


def test_default_capabilities_are_configured(own_node):
    node = own_node(config={"runtime": 'default_capabilities = ["CAP_KILL", "chown"]\nadd_inheritable_capabilities = true\n'})
    pod = node.pod()
    own = {"kill", "chown"}
    assert capabilities_of(node, pod) == {"CapBnd": own, "CapPrm": own, "CapEff": own, "CapInh": own, "CapAmb": set()}
    more = capabilities_of(node, pod, name="more", capabilities={"add_capabilities": ["SYS_TIME"], "drop_capabilities": ["KILL"]})
    assert more["CapBnd"] == more["CapInh"] == {"chown", "sys_time"}


# ---- privileged ----

def test_a_privileged_container_has_all_that_the_daemon_has(node):
    pod = node.pod(linux=privileged(node))
    found = capabilities_of(node, pod, privileged=True)
    assert found["CapBnd"] == found["CapEff"] == found["CapPrm"] == ALL
    out = node.output(pod, "mount | grep -E ' /sys | /proc/sys ' ; echo x >/proc/sys/kernel/domainname && echo wrote", name="look",
                      linux=secured(privileged=True, masked_paths=["/proc/kcore"], readonly_paths=["/proc/sys"]))
    assert "wrote" in out and "(rw" in out


def test_a_privileged_container_needs_a_privileged_pod(node):
    pod = node.pod()
    error = error_of(lambda: node.create(pod, ["true"], linux=secured(privileged=True)), KINDS.INVALID_ARGUMENT)
    assert "config.linux.security_context.privileged" in error and pod[0] in error
    # The other way round it is a pod like any other.
    pod = node.pod(linux=privileged(node))
    assert capabilities_of(node, pod)["CapBnd"] == DEFAULT & ALL


# ---- no_new_privs, read-only root, hidden paths ----

@pytest.mark.parametrize("wanted", [False, True])
def test_no_new_privileges(node, wanted):
    out = node.output(node.pod(), "grep ^NoNewPrivs: /proc/self/status", linux=secured(no_new_privs=wanted))
    assert out.split()[1] == str(int(wanted))


def test_no_new_privileges_keeps_set_user_id_from_working(node, registry, layer, syscalls):
    with open(syscalls, "rb") as file:
        extra = Layer().file("raised", file.read(), mode=0o4755)
    name = registry.push("test/raised", "1", Image([layer, extra]))
    node.pull(name)
    pod = node.pod()
    for wanted, result in ((False, "ok"), (True, "EPERM")):
        container = node.run(pod, ["/raised", "be-root"], image=name, name=f"n{wanted}",
                             linux=secured(run_as_user={"value": 1000}, no_new_privs=wanted))
        node.wait_exit(container)
        assert node.text(pod, container).split() == ["be-root", result]


def test_a_read_only_root(node, tmp_path):
    pod = node.pod()
    script = "touch /file 2>&1; touch /dev/shm/file && echo shm; touch /mnt/file && echo volume"
    mounts = [{"container_path": "/mnt", "host_path": str(tmp_path)}]
    out = node.output(pod, script, mounts=mounts, linux=secured(readonly_rootfs=True))
    assert "Read-only file system" in out and "shm" in out and "volume" in out
    assert "Read-only" not in node.output(pod, script, name="other", mounts=mounts)


MASKED = ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
          "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]  # both as the kubelet sends them
LOOK = 'for f in {}; do if [ -d $f ]; then n=$(ls $f | wc -l); elif [ -e $f ]; then n=$(head -c 100 $f | wc -c); else n=none; fi; echo $f $n; done'


def look(node, pod, *paths, **more):
    return dict(line.split() for line in node.output(pod, LOOK.format(" ".join(paths)), **more).splitlines())


def test_masked_paths_are_the_requests_and_ours(node, tmp_path):
    """/proc/interrupts is none of the kubelet's."""
    paths = ["/proc/interrupts", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/uptime", "/proc/version"]
    pod = node.pod()
    default = {"masked_paths": [*MASKED, "/proc/uptime"], "readonly_paths": READONLY}
    found = look(node, pod, *paths, linux=secured(**default))
    assert int(found.pop("/proc/version")) > 0
    assert set(found.values()) <= {"0", "none"}
    assert found["/proc/interrupts"] == found["/proc/uptime"] == "0"


def test_an_unmasked_container_sees_all(node):
    """procMount: Unmasked comes as empty lists."""
    found = look(node, node.pod(), "/proc/interrupts", "/proc/uptime", linux=secured(masked_paths=[], readonly_paths=[]))
    assert int(found["/proc/interrupts"]) > 0 and int(found["/proc/uptime"]) > 0
    # The default profile of AppArmor keeps what it keeps.
    out = node.output(node.pod(), "echo x >/proc/sys/kernel/domainname && echo wrote",
                      linux=secured(masked_paths=[], readonly_paths=[], apparmor={"profile_type": 1}))
    assert "wrote" in out


def test_read_only_paths(node, tmp_path):
    pod = node.pod()
    out = node.output(pod, "echo x >/proc/sys/kernel/domainname; echo x >/etc/passwd; touch /tmp/x && echo other",
                      linux=secured(masked_paths=MASKED, readonly_paths=[*READONLY, "/etc"]))
    assert out.count("Read-only file system") == 2 and "other" in out


@pytest.mark.parametrize("field", ["masked_paths", "readonly_paths"])
@pytest.mark.parametrize("path", ["relative", "/proc/../etc"])
def test_paths_that_cannot_be_meant(node, field, path):
    pod = node.pod()
    assert field in error_of(lambda: node.create(pod, ["true"], linux=secured(**{field: [path]})), KINDS.INVALID_ARGUMENT)


# ---- users and groups ----

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/srv:/bin/sh\n"
GROUP = "root:x:0:\nweb:x:44:\nextra:x:55:web,other\nmore:x:66:web\nother:x:77:other\n"


@pytest.fixture(scope="module")
def people(registry, layer):
    """An image with users and groups of its own."""
    return registry.push("test/people", "1", Image([layer, Layer().file("etc/passwd", PASSWD).file("etc/group", GROUP)],
                                                   {"User": "web"}))


def who(node, pod, image, **context):
    """uid, gid and the set of groups: as the process has them, and as its status says it."""
    if node.image_status(image) is None:
        node.pull(image)
    container = node.sh(pod, "id -u; id -g; id -G; echo $HOME", image=image, linux=secured(**context), name=f"n{len(node.daemon.ids)}")
    status = node.wait_exit(container)
    uid, gid, groups, home = node.text(pod, container).splitlines()
    user = status.user.linux
    assert (user.uid, user.gid) == (int(uid), int(gid))
    assert {user.gid, *user.supplemental_groups} == set(map(int, groups.split()))
    return int(uid), int(gid), set(map(int, groups.split())), home


def test_who_it_is(node, people):
    pod = node.pod()
    assert who(node, pod, people) == (33, 44, {44, 55, 66}, "/srv")
    assert who(node, pod, people, run_as_user={"value": 0}) == (0, 0, {0}, "/root")
    assert who(node, pod, people, run_as_user={"value": 33}) == (33, 44, {44, 55, 66}, "/srv")
    assert who(node, pod, people, run_as_username="web") == (33, 44, {44, 55, 66}, "/srv")
    assert who(node, pod, people, run_as_user={"value": 4242}) == (4242, 0, {0}, "/")
    assert who(node, pod, people, run_as_user={"value": 33}, run_as_group={"value": 99}) == (33, 99, {99, 55, 66}, "/srv")
    assert who(node, pod, people, run_as_username="web", run_as_group={"value": 0}) == (33, 0, {0, 55, 66}, "/srv")


def test_supplemental_groups_are_merged_or_strict(node, people):
    pod = node.pod()
    wanted = {"run_as_username": "web", "supplemental_groups": [1234, 55]}
    assert who(node, pod, people, **wanted)[2] == {44, 55, 66, 1234}
    assert who(node, pod, people, supplemental_groups_policy=MERGE, **wanted)[2] == {44, 55, 66, 1234}
    assert who(node, pod, people, supplemental_groups_policy=STRICT, **wanted)[2] == {44, 55, 1234}
    assert who(node, pod, people, supplemental_groups_policy=STRICT, run_as_username="web")[2] == {44}


@pytest.mark.parametrize("context, words", [
    ({"run_as_username": "nobody-here"}, "nobody-here"),
    ({"run_as_group": {"value": 5}}, "run_as_group"),
    ({"run_as_user": {"value": -1}}, "-1"),
    ({"run_as_user": {"value": 1 << 32}}, str(1 << 32)),
    ({"run_as_user": {"value": 1}, "run_as_group": {"value": -2}}, "-2"),
    ({"supplemental_groups": [-3]}, "-3"),
    ({"supplemental_groups_policy": 2}, "supplemental_groups_policy"),
], ids=str)
def test_users_and_groups_that_cannot_be(node, context, words):
    pod = node.pod()
    assert words in error_of(lambda: node.create(pod, ["true"], linux=secured(**context)), KINDS.INVALID_ARGUMENT)


def test_who_it_is_survives_the_daemon(own_node, people):
    node = own_node()
    pod = node.pod()
    node.pull(people)
    container = node.sleeper(pod, image=people, linux=secured(run_as_username="web", supplemental_groups=[7]))
    before = node.status(container).user
    assert before.linux.uid == 33
    node.daemon.kill()
    node.daemon.start()
    assert node.status(container).user == before


# ---- the pod's own ----

def test_a_pods_own_user_is_not_its_containers(node, people):
    """They are of the process that would hold the sandbox, of which there is none."""
    linux = node.namespaces()
    linux["security_context"].update(
        run_as_user={"value": 1000}, run_as_group={"value": 2000}, supplemental_groups=[3000], supplemental_groups_policy=STRICT,
        readonly_rootfs=True)
    pod = node.pod(linux=linux)
    out = node.output(pod, "id -u; id -G; touch /file && echo wrote")
    assert out.split() == ["0", "0", "wrote"]
    assert who(node, pod, people)[2] == {44, 55, 66}


@pytest.mark.parametrize("profile", [UNCONFINED, LOCALHOST])
def test_a_pods_own_apparmor_profile_is_not_its_containers(node, profile):
    """Nor need it be loaded: no process would be under it."""
    linux = node.namespaces()
    linux["security_context"]["apparmor"] = {"profile_type": profile, "localhost_ref": "crisp-no-such-profile" if profile == LOCALHOST else ""}
    label = "cat /proc/self/attr/current 2>&1 || true"
    assert node.output(node.pod(linux=linux), label) == node.output(node.pod(), label)


@pytest.mark.parametrize("context, field", [
    ({"run_as_group": {"value": 1}}, "run_as_group"),
    ({"run_as_user": {"value": -1}}, "run_as_user"),
    ({"run_as_user": {"value": 1}, "run_as_group": {"value": 1 << 32}}, "run_as_group"),
    ({"selinux_options": {"level": "a b"}}, "selinux_options.level"),
], ids=str)
def test_a_pods_own_that_cannot_be(node, context, field):
    config = node.pod_config()
    config["linux"]["security_context"].update(context)
    assert field in error_of(lambda: node.run_pod(config), KINDS.INVALID_ARGUMENT)


# ---- AppArmor and SELinux, on a kernel without them ----

without_apparmor = pytest.mark.skipif(os.path.exists("/sys/kernel/security/apparmor/profiles"), reason="this kernel has AppArmor")
without_selinux = pytest.mark.skipif(os.path.exists("/sys/fs/selinux/context"), reason="this kernel has SELinux")


@without_apparmor
@pytest.mark.parametrize("context", [
    {"apparmor": {"profile_type": RUNTIME_DEFAULT}}, {"apparmor": {"profile_type": UNCONFINED}},
    {"apparmor_profile": "runtime/default"}, {"apparmor_profile": "unconfined"}, {"apparmor_profile": ""},
], ids=str)
def test_defaults_without_apparmor_are_what_the_kernel_has(node, context):
    assert node.output(node.pod(), "echo runs", linux=secured(**context)) == "runs\n"


@without_apparmor
@pytest.mark.parametrize("context", [
    {"apparmor": {"profile_type": LOCALHOST, "localhost_ref": "some-profile"}},
    {"apparmor": {"profile_type": LOCALHOST, "localhost_ref": "localhost/some-profile"}},
    {"apparmor_profile": "localhost/some-profile"},
], ids=str)
def test_a_profile_by_name_without_apparmor_is_refused(node, context):
    pod = node.pod()
    error = error_of(lambda: node.create(pod, ["true"], linux=secured(**context)), KINDS.FAILED_PRECONDITION)
    assert "config.linux.security_context.apparmor" in error and "some-profile" in error and "no AppArmor" in error


@pytest.mark.parametrize("context", [
    {"apparmor": {"profile_type": LOCALHOST}}, {"apparmor": {"profile_type": 9}}, {"apparmor_profile": "other"},
    {"apparmor": {"profile_type": UNCONFINED, "localhost_ref": "x"}},
], ids=str)
def test_an_apparmor_profile_that_cannot_be_meant(node, context):
    pod = node.pod()
    assert "apparmor" in error_of(lambda: node.create(pod, ["true"], linux=secured(**context)), KINDS.INVALID_ARGUMENT)


@without_selinux
def test_labels_without_selinux_have_no_effect(node, tmp_path):
    options = {"user": "system_u", "role": "system_r", "type": "container_t", "level": "s0:c1,c2"}
    (tmp_path / "file").write_text("contents\n")
    linux = node.namespaces()
    linux["security_context"]["selinux_options"] = options
    out = node.output(node.pod(linux=linux), "cat /mnt/file", linux=secured(selinux_options=options),
                      mounts=[{"container_path": "/mnt", "host_path": str(tmp_path), "selinux_relabel": True}])
    assert out == "contents\n"
    assert "security.selinux" not in os.listxattr(tmp_path / "file")


@pytest.mark.parametrize("part, value", [("type", "a b"), ("user", "a:b"), ("level", 's0"'), ("role", "x" * 2000)])
def test_what_is_no_part_of_a_label_is_refused(node, part, value):
    pod = node.pod()
    error = error_of(lambda: node.create(pod, ["true"], linux=secured(selinux_options={part: value})), KINDS.INVALID_ARGUMENT)
    assert f"selinux_options.{part}" in error
