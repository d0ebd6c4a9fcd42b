"""The programs that a runtime must wait for, timed by themselves: the CNI plugins and the OCI runtime, with the same work to do."""
import glob
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


def cni(daemon, rounds):
    """Times of ADD and DEL of all plugins of the daemon's network, one round after the other, each for a namespace of its own."""
    network = daemon.network_config()
    times = {"ADD": [], "DEL": []}
    for _ in range(rounds):
        name = f"bench{secrets.token_hex(4)}"
        subprocess.run([program("ip"), "netns", "add", name], check=True)
        try:
            result = None
            for command in ("ADD", "DEL"):
                total = 0
                for plugin in network["plugins"] if command == "ADD" else reversed(network["plugins"]):
                    config = {**plugin, "cniVersion": network["cniVersion"], "name": network["name"]}
                    if result:
                        config["prevResult"] = result
                    path = next(f"{d}/{plugin['type']}" for d in daemon.plugin_dirs if os.path.exists(f"{d}/{plugin['type']}"))
                    environment = {
                        "CNI_COMMAND": command, "CNI_CONTAINERID": name, "CNI_NETNS": f"/run/netns/{name}", "CNI_IFNAME": "eth0",
                        "CNI_PATH": ":".join(daemon.plugin_dirs), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    }
                    took, out = _timed([path], input=json.dumps(config).encode(), env=environment)
                    total += took
                    if command == "ADD":
                        result = json.loads(out)
                times[command].append(total)
        finally:
            subprocess.run([program("ip"), "netns", "del", name], check=True)
    return times


def oci(daemon, container, rounds):
    """Times of the OCI runtime's create, start, exec, kill and delete with the bundle of a container that runs."""
    with open(f"{daemon.state}/containers/{container}/bundle/config.json") as file:
        spec = json.load(file)
    spec["process"]["terminal"] = False
    times = {"create": [], "start": [], "exec": [], "delete": []}
    runtime = program(daemon.handler)
    with tempfile.TemporaryDirectory(dir=daemon.root) as folder:
        for _ in range(rounds):
            name = f"bench{secrets.token_hex(8)}"
            spec["linux"]["cgroupsPath"] = f"{daemon.cgroup}/{name}"
            with open(f"{folder}/config.json", "w") as file:
                json.dump(spec, file)
            base = [runtime, "--root", f"{daemon.root}/bench-runtime"]
            # A container keeps its stdio: pipes would hold up whoever reads them to their end.
            took = _timed_quiet([*base, "create", "--bundle", folder, name])
            times["create"].append(took)
            times["start"].append(_timed(base + ["start", name])[0])
            times["exec"].append(_timed(base + ["exec", name, "true"])[0])
            pid = json.loads(_timed(base + ["state", name])[1])["pid"]
            _timed(base + ["kill", name, "KILL"])
            while _lives(pid):
                time.sleep(0.001)
            times["delete"].append(_timed(base + ["delete", name])[0])
    for path in glob.glob(f"{daemon.root}/bench-runtime/*"):
        raise RuntimeError(f"{path} is left")
    return times


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
