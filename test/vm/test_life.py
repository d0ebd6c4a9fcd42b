"""The daemon as systemd's unit: starts, ends, upgrades and reboots, and what containers notice of them."""
import json
import os
import subprocess

import pytest
from conftest import Guest
from kit import machine as machines
from kit.paths import program
from kit.wait import wait_for
from support import EXITED, KINDS, NOTREADY, READY, RUNNING, error_of

TICK = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 1; done"


def restarts(machine):
    return int(machine.sh("systemctl show -p NRestarts --value crisp"))


def test_the_package_is_a_unit_that_runs(guest):
    machine = guest.machine
    assert machine.sh("systemctl is-active crisp; systemctl is-enabled crisp").split() == ["active", "enabled"]
    shown = dict(line.split("=", 1) for line in machine.sh(
        "systemctl show crisp -p Type,KillMode,WatchdogUSec,Delegate,OOMScoreAdjust,NotifyAccess").splitlines())
    assert shown["Type"] == "notify" and shown["KillMode"] == "process" and shown["Delegate"] == "yes"
    assert shown["WatchdogUSec"] == "1min"
    assert machine.sh(f"cat /proc/{guest.crisp_pid()}/oom_score_adj").strip() == "-999"
    assert machine.sh("stat -c '%a %U' /run/crisp/crisp.sock").split() == ["660", "root"]
    assert "mount namespace" not in machine.sh("journalctl -u crisp -o cat --no-pager")
    for page in ("crisp.8", "crisp-images.8", "crisp.toml.5"):
        assert machine.status(f"ls /usr/share/man/man{page[-1]}/{page}.gz") == 0
    assert machine.sh("crisp config | grep cgroup_driver").split("=")[1].strip() == '"systemd"'


def test_a_container_is_a_scope_in_its_slice(guest):
    pod = guest.pod()
    container = guest.sleeper(pod, linux={"resources": {"memory_limit_in_bytes": 64 << 20, "oom_score_adj": -998}})
    info = json.loads(guest.client.ContainerStatus(container_id=container, verbose=True).info["info"])
    cgroup = guest.machine.sh(f"cat /proc/{info['pid']}/cgroup").strip()
    assert cgroup == f"0::{info['cgroupPath']}" and cgroup.endswith(f".slice/crisp-{container}.scope")
    assert guest.machine.sh(f"cat /sys/fs/cgroup{info['cgroupPath']}/memory.max").strip() == str(64 << 20)
    # With CAP_SYS_RESOURCE and a unit at -999 a container may be as dear as a guaranteed pod's.
    assert guest.machine.sh(f"cat /proc/{info['pid']}/oom_score_adj").strip() == "-998"
    guest.stop(container)
    guest.client.RemoveContainer(container_id=container)
    assert guest.machine.sh(f"systemctl list-units --all --no-legend 'crisp-{container}.scope'").strip() == ""


LIMITS = "memory.max memory.swap.max memory.high cpu.max pids.max cpuset.cpus"


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_limits_outlive_a_daemon_reload(guest, runtime):
    """At which systemd writes into a scope's files what it knows: Debian's crun tells it next to nothing, its runc not all."""
    config = guest.pod_config()
    pod = guest.run_pod(config, handler=runtime), config
    container = guest.sleeper(pod, linux={"resources": {
        "memory_limit_in_bytes": 64 << 20, "memory_swap_limit_in_bytes": 64 << 20, "cpu_period": 100000, "cpu_quota": 50000,
        "cpuset_cpus": "1", "unified": {"memory.high": str(48 << 20), "pids.max": "77"}}})
    folder = json.loads(guest.client.ContainerStatus(container_id=container, verbose=True).info["info"])["cgroupPath"]
    limits = lambda: guest.machine.sh(f"cd /sys/fs/cgroup{folder} && cat {LIMITS}").splitlines()
    assert limits() == [str(64 << 20), "0", str(48 << 20), "50000 100000", "77", "1"]
    guest.machine.sh("systemctl daemon-reload")
    reloaded(guest)
    assert limits() == [str(64 << 20), "0", str(48 << 20), "50000 100000", "77", "1"]
    guest.client.UpdateContainerResources(container_id=container, linux={
        "memory_limit_in_bytes": 96 << 20, "memory_swap_limit_in_bytes": 96 << 20, "cpu_quota": 20000})
    after = limits()
    assert after[0] == str(96 << 20) and after[3] == "20000 100000"
    guest.machine.sh("systemctl daemon-reload")
    reloaded(guest)
    assert limits() == after


def reloaded(guest):
    """What follows a daemon-reload has been done when systemd has started another unit."""
    guest.machine.sh("systemd-run --quiet --wait true; sleep 1")


# ---- AppArmor ----

RUNTIME_DEFAULT, UNCONFINED, LOCALHOST = range(3)
PROFILE = """profile crisp-test-guard flags=(attach_disconnected,mediate_deleted) {
  capability,
  file,
  network,
  unix,
  signal,
  ptrace,
  deny /forbidden w,
}
"""


def confined(kind, name="", **more):
    return {"security_context": {"apparmor": {"profile_type": kind, "localhost_ref": name}, **more}}


def label_of(guest, container):
    info = json.loads(guest.client.ContainerStatus(container_id=container, verbose=True).info["info"])
    return guest.machine.sh(f"cat /proc/{info['pid']}/attr/current").strip("\0\n ")


def expect_label(guest, container, label):
    """Of its first process, once that runs its command; and of a command that is run beside it."""
    wait_for(lambda: label_of(guest, container) == label, f"the label {label} in the place of {label_of(guest, container)}", pause=0.5)
    assert guest.exec_sh(container, "cat /proc/self/attr/current").strip("\0\n ") == label


def parse_profile(guest, action):
    guest.machine.sh(f"/usr/sbin/apparmor_parser --{action} --skip-cache", input=PROFILE.encode())


def test_apparmor_confines_by_default(guest):
    if guest.machine.status("aa-enabled -q || cat /sys/module/apparmor/parameters/enabled | grep Y"):
        raise AssertionError("the machine has no AppArmor")
    pod = guest.pod()
    mighty = {"capabilities": {"add_capabilities": ["SYS_ADMIN"]}}
    container = guest.sleeper(pod, linux=confined(RUNTIME_DEFAULT, **mighty))
    expect_label(guest, container, "crisp-default (enforce)")
    free = guest.sleeper(pod, name="free", linux=confined(UNCONFINED, **mighty))
    expect_label(guest, free, "unconfined")
    mount = "mkdir /m && mount -t tmpfs none /m 2>&1 && echo mounted; true"
    assert "mounted" not in guest.exec_sh(container, mount)
    assert guest.exec_sh(free, mount) == "mounted\n"


def test_apparmor_profiles_by_name(guest):
    pod = guest.pod()
    linux = confined(LOCALHOST, "crisp-test-guard")
    message = error_of(lambda: guest.create(pod, ["/bin/true"], linux=linux), KINDS.FAILED_PRECONDITION)
    assert "crisp-test-guard" in message and "not loaded" in message
    parse_profile(guest, "replace")
    try:
        script = "for f in allowed forbidden; do { echo x >/$f; } 2>/dev/null && echo $f; done; echo up; while :; do sleep 1; done"
        container = guest.sh(pod, script, linux=linux)
        expect_label(guest, container, "crisp-test-guard (enforce)")
        wait_for(lambda: "up" in guest.log_lines(container), "what it could write", pause=0.5)
        assert guest.log_lines(container) == ["allowed", "up"]
        by_text = guest.sleeper(pod, name="text", linux={"security_context": {"apparmor_profile": "localhost/crisp-test-guard"}})
        expect_label(guest, by_text, "crisp-test-guard (enforce)")
    finally:
        guest.remove_everything()
        parse_profile(guest, "remove")


def test_kill_9_and_restart_under_load(guest):
    machine = guest.machine
    pod = guest.pod()
    container = guest.sh(pod, TICK)
    for way in ("systemctl kill -s KILL --kill-whom=main crisp", "systemctl restart crisp") * 2:
        before = guest.crisp_pid()
        calls = [guest.client.start("RunPodSandbox", config=guest.pod_config()) for _ in range(3)]
        calls += [guest.client.start("ExecSync", container_id=container, cmd=["true"], timeout=60) for _ in range(3)]
        machine.sh(way)
        for call in calls:
            call.exception()  # cut off or answered: both are fine
        wait_for(lambda: guest.crisp_pid() not in (0, before), "systemd to start it again", pause=0.5)
        wait_for(guest.answers, "the daemon to answer", pause=0.5)
        assert guest.status(container).state == RUNNING
        assert guest.exec_sh(container, "echo here").strip() == "here"
    assert guest.pod_status(pod[0]).state == READY
    ticks = [int(line.split()[1]) for line in guest.log_lines(container)]
    assert ticks == list(range(1, len(ticks) + 1)), "a line of the log is missing or there twice"


def test_the_watchdog_has_a_daemon_that_stands_still_started_again(guest):
    machine = guest.machine
    machine.sh("mkdir -p /run/systemd/system/crisp.service.d && printf '[Service]\\nWatchdogSec=20\\n' >/run/systemd/system/crisp.service.d/w.conf"
               " && systemctl daemon-reload && systemctl restart crisp")
    try:
        wait_for(guest.answers, "the daemon to answer", pause=0.5)
        container = guest.sleeper(guest.pod())
        before, count = guest.crisp_pid(), restarts(machine)
        machine.sh(f"kill -STOP {before}")
        wait_for(lambda: guest.crisp_pid() not in (0, before), "systemd to start it again", 120, 1)
        wait_for(guest.answers, "the daemon to answer", pause=0.5)
        assert restarts(machine) > count
        assert guest.status(container).state == RUNNING
    finally:
        machine.sh("rm -rf /run/systemd/system/crisp.service.d; systemctl daemon-reload; systemctl restart crisp")
        wait_for(guest.answers, "the daemon to answer", pause=0.5)


def test_an_upgrade_of_the_package_stops_no_container(guest, tmp_path):
    machine = guest.machine
    pod = guest.pod()
    container = guest.sh(pod, TICK)
    before = guest.crisp_pid()
    deb = machines.package()
    tree, newer = f"{tmp_path}/tree", f"{tmp_path}/crisp_newer.deb"
    subprocess.run([program("dpkg-deb"), "-R", deb, tree], check=True)
    subprocess.run(["sed", "-i", "s/^Version: .*/&+newer/", f"{tree}/DEBIAN/control"], check=True)
    subprocess.run([program("dpkg-deb"), "-b", "--root-owner-group", "-Zgzip", tree, newer], check=True, stdout=subprocess.DEVNULL)
    machine.put("/root", newer)
    machine.sh("echo '# mine' >>/etc/crisp/crisp.toml && DEBIAN_FRONTEND=noninteractive apt-get install -y /root/crisp_newer.deb", timeout=3600)
    assert machine.sh("dpkg-query -W -f '${Version}' crisp").endswith("+newer")
    assert machine.sh("tail -n 1 /etc/crisp/crisp.toml") == "# mine\n"
    assert guest.crisp_pid() not in (0, before)
    wait_for(guest.answers, "the daemon to answer", pause=0.5)
    assert guest.status(container).state == RUNNING
    assert guest.exec_sh(container, "echo here").strip() == "here"
    ticks = [int(line.split()[1]) for line in guest.log_lines(container)]
    assert ticks == list(range(1, len(ticks) + 1))


def test_a_reboot(new_machine, registry, busybox):
    machine = new_machine()
    guest = Guest(machine, registry, busybox)
    guest.pull(busybox)
    pod = guest.pod()
    # One that SIGTERM does not end would hold up the machine for as long as systemd waits (DefaultTimeoutStopSec).
    container = guest.sh(pod, "trap 'exit 7' TERM; echo before; while :; do sleep 1; done")
    ended = guest.sh(pod, "echo done; exit 3", name="ended")
    guest.wait_exit(ended)
    created = guest.create(pod, ["true"], name="created")
    machine.reboot()
    assert guest.pod_status(pod[0]).state == NOTREADY
    assert guest.status(container).state == EXITED and guest.status(container).exit_code != 0
    assert guest.status(ended).state == EXITED and guest.status(ended).exit_code == 3
    assert guest.status(created).state == EXITED or guest.status(created).state == 0
    # systemd tells each process to end: the shell may have a word about its child.
    assert guest.log_lines(container)[0] == "before" and guest.log_lines(ended) == ["done"]
    assert guest.image_status(busybox), "images outlive a reboot"
    # The kubelet makes the pod anew, and takes the old one away.
    again = guest.run_pod(guest.pod_config(name=pod[1]["metadata"]["name"], attempt=1))
    guest.remove_pod(pod[0])
    guest.remove_pod(again)
    assert not guest.client.ListContainers().containers and not guest.client.ListPodSandbox().items
    left = machine.sh("ls /var/lib/crisp/pods /var/lib/crisp/containers | grep -v : ; grep -c /run/crisp/pods /proc/mounts; true").split()
    assert left == ["0"], left
