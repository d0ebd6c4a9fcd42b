"""Finds what a daemon left on the machine: looked for by its folders, its tag and its ids, so that others may run beside."""
import errno
import os
import re
import signal
import subprocess
import time

from .paths import program
from .wait import PATIENCE


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _lines(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.splitlines()


def _mountinfo():
    for line in _read("/proc/self/mountinfo").splitlines():
        fields = line.split()
        yield re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4]), line


def cgroup_roots():
    """The roots of all cgroup hierarchies that can be written."""
    for path, line in _mountinfo():
        kind = line.split(" - ", 1)[1].split()[0]
        if kind in ("cgroup", "cgroup2") and path.startswith("/sys/fs/cgroup") and os.access(path, os.W_OK):
            yield path


def inherit(root, path, name):
    """Gives each level of a path the parent's value of a cpuset file where it has none."""
    here = root
    for part in path.strip("/").split("/"):
        parent, here = here, f"{here}/{part}"
        if os.path.exists(f"{here}/{name}") and not _read(f"{here}/{name}").strip():
            with open(f"{here}/{name}", "w") as file:
                file.write(_read(f"{parent}/{name}"))


def _cgroups(names):
    """Every cgroup folder whose path has one of the names in it, deepest first."""
    for root in cgroup_roots():
        found = []
        for folder, _, _ in os.walk(root):
            if any(name in folder for name in names):
                found.append(folder)
        yield from sorted(found, key=lambda f: -f.count("/"))


def processes(daemon):
    marks = [daemon.root, *daemon.ids]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) in (os.getpid(), os.getppid()) or (daemon.process and int(pid) == daemon.process.pid):
            continue
        words = _read(f"/proc/{pid}/cmdline").replace("\0", " ")
        groups = _read(f"/proc/{pid}/cgroup")
        if daemon.cgroup in groups or any(mark in words or mark in groups for mark in marks):
            if "docker-registry serve" in words or re.search(r"State:\tZ", _read(f"/proc/{pid}/status")):
                continue
            yield int(pid), words.strip()


def mounts(daemon):
    for path, line in _mountinfo():
        if path.startswith(daemon.root + "/") or any(i in path for i in daemon.ids):
            yield path, line


def all_rules():
    for save in ("iptables-save", "ip6tables-save"):
        try:
            yield from (f"{save}: {line}" for line in _lines(program(save)))
        except FileNotFoundError:
            pass
    try:
        yield from (f"nft: {line.strip()}" for line in _lines(program("nft"), "list", "ruleset"))
    except FileNotFoundError:
        pass


def rules(daemon):
    marks = [f"{daemon.subnet}.", daemon.subnet6, daemon.bridge, f"net{daemon.tag}", *daemon.ids]
    return [line for line in all_rules() if any(mark in line for mark in marks)]


def interfaces(daemon):
    """What hangs on the daemon's bridge. The bridge itself is its network's, and stays with the plugin."""
    return _lines(program("ip"), "-br", "link", "show", "master", daemon.bridge)


def _listdir(path):
    try:
        return sorted(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return []


def find(daemon):
    """What is still there of pods and containers, one line each; empty when all is well. The daemon itself may run."""
    left = [f"process {pid}: {words}" for pid, words in processes(daemon)]
    left += [f"mount {line}" for _, line in mounts(daemon)]
    left += [f"interface {line}" for line in interfaces(daemon)]
    left += [f"packet filter rule {line}" for line in rules(daemon)]
    keep = {daemon.cgroup, f"{daemon.cgroup}/monitors", *getattr(daemon, "pod_cgroups", ())}
    for folder in _cgroups([daemon.cgroup, *daemon.ids]):
        # A slice is the kubelet's; those that systemd made for a scope go with the daemon's own.
        if daemon.cgroup_driver == "systemd" and folder.endswith(".slice"):
            continue
        if not any(folder.endswith(k) for k in keep):
            left.append(f"cgroup {folder}")
    for kind in ("pods", "containers"):
        left += [f"file {daemon.state}/{kind}/{name}" for name in _listdir(f"{daemon.state}/{kind}")]
    for network in _listdir(f"{daemon.root}/ipam"):
        for name in _listdir(f"{daemon.root}/ipam/{network}"):
            if re.match(r"[0-9a-f]+[.:_]", name):
                left.append(f"address {name} of {network} still taken")
    # libcni's cache is one for all runtimes of a machine.
    for kind in _listdir("/var/lib/cni"):
        left += [f"file /var/lib/cni/{kind}/{name}" for name in _listdir(f"/var/lib/cni/{kind}") if any(i in name for i in daemon.ids)]
    for folder, folders, names in os.walk(daemon.run):
        left += [f"file {folder}/{name}" for name in [*folders, *names] if any(i in name for i in daemon.ids)]
    return left


def find_soon(daemon, seconds=10):
    """As find, but gives what ends by itself a moment to do so (a monitor that was just told to go)."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        left = find(daemon)
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.05)


def force(daemon):
    """Takes away whatever find finds, whatever state the daemon was in."""
    for _ in range(100):
        pids = [pid for pid, _ in processes(daemon)]
        if not pids:
            break
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.05)
    for path, _ in reversed(list(mounts(daemon))):
        subprocess.run([program("umount"), "-l", path], stderr=subprocess.DEVNULL)
    for line in interfaces(daemon):
        subprocess.run([program("ip"), "link", "del", re.split(r"[@ ]", line)[0]], stderr=subprocess.DEVNULL)
    subprocess.run([program("ip"), "link", "del", daemon.bridge], stderr=subprocess.DEVNULL)
    for kind in _listdir("/var/lib/cni"):
        for name in _listdir(f"/var/lib/cni/{kind}"):
            if any(i in name for i in daemon.ids):
                os.unlink(f"/var/lib/cni/{kind}/{name}")
    if getattr(daemon, "cgroup_driver", "") == "systemd":
        subprocess.run([program("systemctl"), "stop", os.path.basename(daemon.cgroup)], stderr=subprocess.DEVNULL)
    for _ in range(100):
        busy = False
        for folder in _cgroups([daemon.cgroup, *daemon.ids]):
            try:
                os.rmdir(folder)
            except OSError as e:
                busy |= e.errno == errno.EBUSY
        if not busy:
            break
        time.sleep(0.05)


def remains(daemon):
    """After a daemon was destroyed: what is left of it and of its own network, folders and cgroups."""
    left = find(daemon)
    left += [f"cgroup {folder}" for folder in _cgroups([daemon.cgroup])]
    if os.path.exists(f"/sys/class/net/{daemon.bridge}"):
        left.append(f"interface {daemon.bridge}")
    if os.path.exists(daemon.root):
        left.append(f"folder {daemon.root}")
    return left
