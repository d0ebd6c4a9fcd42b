"""The programs that a runtime must wait for, timed by themselves: the CNI plugins and the OCI runtime, with the same work to do."""
import json
import os
import secrets
import subprocess
import tempfile
import time

from kit.paths import program


def _timed(argv, **more):
    """Milliseconds from the start of a program to its end, which must be good; and what it printed."""
    began = time.perf_counter()
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    took = (time.perf_counter() - began) * 1000
    if done.returncode:
        raise RuntimeError(f"{argv}: {done.returncode}: {done.stderr.decode(errors='replace')} {done.stdout.decode(errors='replace')}")
    return took, done.stdout


class Direct:
    """Collects times of ADD and DEL of the daemon's plugins, and of the runtime's create, start, exec and delete."""

    def __init__(self, daemon):
        self.daemon, self.times = daemon, {}

    def note(self, name, took):
        self.times.setdefault(name, []).append(took)

    def plugins(self):
        """One round of all plugins of the daemon's network, for a namespace of its own."""
        network, folders = self.daemon.network_config(), self.daemon.plugin_dirs
        name, result = f"bench{secrets.token_hex(4)}", None
        subprocess.run([program("ip"), "netns", "add", name], check=True)
        try:
            for command in ("ADD", "DEL"):
                total = 0
                for plugin in network["plugins"] if command == "ADD" else reversed(network["plugins"]):
                    config = {**plugin, "cniVersion": network["cniVersion"], "name": network["name"]}
                    if result:
                        config["prevResult"] = result
                    path = next(f"{d}/{plugin['type']}" for d in folders if os.path.exists(f"{d}/{plugin['type']}"))
                    environment = {
                        "CNI_COMMAND": command, "CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}", "CNI_IFNAME": "eth0",
                        "CNI_PATH": ":".join(folders), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    }
                    took, out = _timed([path], input=json.dumps(config).encode(), env=environment)
                    total += took
                    if command == "ADD":
                        result = json.loads(out)
                self.note(command, total)
        finally:
            subprocess.run([program("ip"), "netns", "del", name], check=True)

    def runtime(self, container):
        """One round of the OCI runtime with the bundle of a container that runs."""
        daemon = self.daemon
        with open(f"{daemon.state}/containers/{container}/bundle/config.json") as file:
            spec = json.load(file)
        name = f"bench{secrets.token_hex(8)}"
        spec["linux"]["cgroupsPath"] = f"{daemon.cgroup}/{name}"
        base = [program(daemon.handler), "--root", f"{daemon.root}/bench-runtime"]
        with tempfile.TemporaryDirectory(dir=daemon.root) as folder:
            with open(f"{folder}/config.json", "w") as file:
                json.dump(spec, file)
            # A container keeps its stdio: pipes would hold up whoever reads them to their end.
            self.note("create", _timed_quiet([*base, "create", "--bundle", folder, name]))
            self.note("start", _timed([*base, "start", name])[0])
            self.note("exec", _timed([*base, "exec", name, "true"])[0])
            pid = json.loads(_timed([*base, "state", name])[1])["pid"]
            _timed([*base, "kill", name, "KILL"])
            while _lives(pid):
                time.sleep(0.001)
            self.note("delete", _timed([*base, "delete", name])[0])


def _timed_quiet(argv):
    began = time.perf_counter()
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - began) * 1000


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
