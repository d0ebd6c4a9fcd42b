"""What contrib/demo shows once crisp is built."""
import json
import os
import signal
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from kit import leaks  # noqa: E402
from kit.cri import grpc  # noqa: E402
from kit.daemon import Daemon  # noqa: E402
from kit.image import Image, busybox_layer  # noqa: E402
from kit.registry import Registry  # noqa: E402
from kit.wait import wait_for  # noqa: E402

FORWARD = "/proc/sys/net/ipv4/ip_forward"
CNI_CACHE = ["/var/lib/cni/results", "/var/lib/cni"]  # one for all runtimes of a machine
SCRIPT = """
echo "hello from $(hostname), process $$"
echo "this page comes out of the pod" > /tmp/index.html
httpd -p 80 -h /tmp
trap 'echo "asked to stop, leaving with 7"; exit 7' TERM
n=0
while :; do n=$((n+1)); echo "still here: $n"; sleep 0.2 & wait $!; done
"""


class Step:
    """One line on the screen: what is done, and how long it took."""

    def __init__(self, what):
        self.what = what

    def __enter__(self):
        print(f"{self.what:<58}", end="", flush=True)
        self.began = time.monotonic()

    def __exit__(self, kind, *_):
        took = time.monotonic() - self.began
        print("failed" if kind else f"{took * 1000:.0f} ms" if took < 1 else f"{took:.1f} s", flush=True)


def tell(text):
    print(f"    {text}", flush=True)


def read(path):
    with open(path) as file:
        return file.read()


def log_lines(path):
    return [line.split(" ", 3)[3] for line in read(path).splitlines()]


def run(daemon, registry):
    client = daemon.client
    with Step("registry: an image from Debian's busybox"):
        registry.start()
        name = registry.push("demo/busybox", "1", Image([busybox_layer()]))
    with Step("crisp serve: until it answers"):
        daemon.start()
    version = client.Version()
    tell(f"{version.runtime_name} {version.runtime_version} on {daemon.socket}, containers by {daemon.handler}")
    for condition in client.Status().status.conditions:
        tell(f"{condition.type}: {'yes' if condition.status else 'no: ' + condition.message}")
    with Step(f"pull {name}"):
        image = client.PullImage(image={"image": name}).image_ref
    tell(f"{image}, {client.ImageStatus(image={'image': name}).image.size} bytes")

    pod_config = {
        "metadata": {"name": "demo", "uid": "demo-1", "namespace": "default", "attempt": 0},
        "hostname": "demo",
        "log_directory": f"{daemon.root}/logs",
        "linux": {
            "cgroup_parent": daemon.cgroup,
            "security_context": {"namespace_options": {"pid": "CONTAINER"}},
        },
    }
    config = {
        "metadata": {"name": "web", "attempt": 0},
        "image": {"image": name},
        "command": ["/bin/sh", "-c", SCRIPT],
        "log_path": "web.log",
        "linux": {"security_context": {"namespace_options": {"pid": "CONTAINER"}}},
    }
    with Step("run a pod: its namespaces and its network"):
        pod = client.RunPodSandbox(config=pod_config).pod_sandbox_id
    address = client.PodSandboxStatus(pod_sandbox_id=pod).status.network.ip
    tell(f"pod {pod[:12]} has the address {address}")
    with Step("create a container in it"):
        container = client.CreateContainer(pod_sandbox_id=pod, config=config, sandbox_config=pod_config).container_id
    with Step("start the container"):
        client.StartContainer(container_id=container)
    with Step(f"fetch http://{address}/"):
        page = wait_for(lambda: fetch(address), "the pod's web server", 30).strip()
    tell(f'"{page}"')
    with Step("exec in the container: id"):
        answer = client.ExecSync(container_id=container, cmd=["id"], timeout=10)
    tell(answer.stdout.decode().strip())
    log = f"{daemon.root}/logs/web.log"
    wait_for(lambda: len(log_lines(log)) >= 3, "three lines in the log", 30)
    tell("its log, in " + log + ":")
    for line in log_lines(log)[:3]:
        tell("  " + line)

    process = main_process(daemon, container)
    before = len(log_lines(log))
    with Step("kill -9 the daemon, and see the container go on"):
        daemon.kill()
        wait_for(lambda: len(log_lines(log)) >= before + 3, "the container to go on", 30)
    tell(f"{len(log_lines(log)) - before} lines more in the log without a daemon")
    with Step("crisp serve again: until it answers"):
        daemon.start()
    same = process == main_process(daemon, container)
    status = client.ContainerStatus(container_id=container).status
    if not same or status.state != 1:
        raise RuntimeError("the container did not outlive the daemon")
    tell(f"the same container runs on: process {process}")
    with Step("stop the container: SIGTERM, and 10 s of grace"):
        client.StopContainer(container_id=container, timeout=10)
    status = client.ContainerStatus(container_id=container).status
    tell(f'its last line: "{log_lines(log)[-1]}"')
    tell(f"exit code {status.exit_code}, reason {status.reason}")
    with Step("remove the container and the pod"):
        client.RemoveContainer(container_id=container)
        client.StopPodSandbox(pod_sandbox_id=pod)
        client.RemovePodSandbox(pod_sandbox_id=pod)
    with Step("remove the image"):
        client.RemoveImage(image={"image": name})
    with Step("SIGTERM to the daemon"):
        daemon.terminate()
    if status.exit_code != 7:
        raise RuntimeError(f"the container was to end with 7, not {status.exit_code}")


def fetch(address):
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(f"http://{address}/", timeout=2).read().decode()
    except OSError:
        return None


def main_process(daemon, container):
    info = daemon.client.ContainerStatus(container_id=container, verbose=True).info
    return json.loads(info["info"])["pid"]


def main():
    # A ctrl-C or a kill goes through the cleaning up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    forward = read(FORWARD)
    new_folders = [folder for folder in CNI_CACHE if not os.path.exists(folder)]
    root = tempfile.mkdtemp(prefix="crisp-demo-")
    registry, daemon, result = Registry(f"{root}/registry"), None, 1
    try:
        daemon = Daemon("build", base=f"{root}")
        run(daemon, registry)
        result = 0
    except KeyboardInterrupt:
        print("interrupted")
        result = 130
    except (grpc.RpcError, RuntimeError, AssertionError, OSError) as e:
        print(f"{e.code().name}: {e.details()}" if isinstance(e, grpc.RpcError) else e)
        if daemon:
            print(daemon.log_tail())
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with Step("clean up, and look for anything left"):
            registry.stop()
            left = daemon.destroy() if daemon else []
            if read(FORWARD) != forward:
                with open(FORWARD, "w") as file:
                    file.write(forward)
            for folder in filter(os.path.isdir, new_folders):
                try:
                    os.rmdir(folder)
                except OSError as e:
                    left.append(str(e))
            left += leaks.remains(daemon) if daemon else []
        if left:
            result = result or 1
            print("left behind:\n" + "\n".join(left))
        else:
            tell("no process, mount, namespace, interface, address, packet filter rule, cgroup or file is left")
    return result


if __name__ == "__main__":
    sys.exit(main())
