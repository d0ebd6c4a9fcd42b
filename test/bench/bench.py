"""Times every call of a pod's life over many pods, and weighs the daemon and what stays beside each container."""
import argparse
import os
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [f"{HERE}/../../contrib", f"{HERE}/../integration"]

import handlers  # noqa: E402
import pulls  # noqa: E402
import report  # noqa: E402
import scale  # noqa: E402
import stats  # noqa: E402
import streaming  # noqa: E402
from direct import Direct  # noqa: E402
from kit.cri import pb  # noqa: E402
from kit.image import Image, busybox_layer  # noqa: E402
from kit.registry import Registry  # noqa: E402
from subjects import Containerd, Crisp, pss  # noqa: E402
from support import Node  # noqa: E402

WARM_UP = 3  # pods; a machine that was idle is slow at first
CHECKPOINT = 20  # pods, at which memory is looked at for the first time
QUESTIONS = 100  # of each kind, with all pods there
ROUNDS = 20  # of plugins and runtime alone, between the pods: so that they meet the same machine
SETTLE = 2  # seconds until memory is looked at


class Run:
    """One subject's life, measured."""

    def __init__(self, subject, registry, image):
        self.subject, self.registry, self.image = subject, registry, image
        self.times, self.memory, self.client = {}, {}, subject.client

    def call(self, name, message=None, keep=True):
        message = message if message is not None else getattr(pb, f"{name}Request")()
        began = time.perf_counter()
        response = self.client.invoke(name, message)
        if keep:
            self.times.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return response

    def weigh(self, when):
        time.sleep(SETTLE)
        helpers = self.subject.helpers()
        each = [sum(pss(pid) for pid in pids) for pids in helpers]
        self.memory[when] = {
            "daemon": pss(self.subject.pid),
            "helpers": len(helpers),
            "helper": sum(each) / len(each) if each else None,
            "descriptors": max((len(os.listdir(f"/proc/{pids[0]}/fd")) for pids in helpers), default=None),
        }

    def begin_pod(self, keep=True):
        """Runs a pod with one container, in which one command was run; returns (pod, container)."""
        config = self.node.pod_config()
        pod = self.call("RunPodSandbox", pb.RunPodSandboxRequest(config=config), keep).pod_sandbox_id
        os.makedirs(f"{config['log_directory']}/main")
        container = self.node.container_config(["/bin/sleep", "1000000"])
        container["linux"] = {"security_context": config["linux"]["security_context"]}
        create = pb.CreateContainerRequest(pod_sandbox_id=pod, config=container, sandbox_config=config)
        began = time.perf_counter()
        container = self.call("CreateContainer", create, keep).container_id
        self.call("StartContainer", pb.StartContainerRequest(container_id=container), keep)
        if keep:
            self.times.setdefault("CreateContainer + StartContainer", []).append((time.perf_counter() - began) * 1000)
        done = self.call("ExecSync", pb.ExecSyncRequest(container_id=container, cmd=["true"], timeout=60), keep)
        assert done.exit_code == 0, done
        return pod, container

    def end_pod(self, pod, container, keep=True):
        self.call("StopContainer", pb.StopContainerRequest(container_id=container, timeout=0), keep)
        self.call("RemoveContainer", pb.RemoveContainerRequest(container_id=container), keep)
        self.call("StopPodSandbox", pb.StopPodSandboxRequest(pod_sandbox_id=pod), keep)
        self.call("RemovePodSandbox", pb.RemovePodSandboxRequest(pod_sandbox_id=pod), keep)

    def ask(self, pods):
        for i in range(QUESTIONS):
            pod, container = pods[i % len(pods)]
            self.call("Version")
            self.call("Status")
            assert len(self.call("ListPodSandbox").items) == len(pods)
            assert len(self.call("ListContainers").containers) == len(pods)
            self.call("PodSandboxStatus", pb.PodSandboxStatusRequest(pod_sandbox_id=pod))
            self.call("ContainerStatus", pb.ContainerStatusRequest(container_id=container))
            self.call("ListImages")
            self.call("ImageStatus", pb.ImageStatusRequest(image={"image": self.image}))

    def restart(self, pods):
        """Milliseconds from the start of a daemon that was killed until it lists all containers."""
        self.subject.kill()
        began = time.perf_counter()
        self.subject.start()
        assert len(self.client.ListContainers().containers) == len(pods)
        self.restarted = (time.perf_counter() - began) * 1000

    def measure(self, count):
        subject = self.subject
        subject.prepare(self.registry)
        subject.start()
        self.weigh("idle")
        began = time.perf_counter()
        self.node = Node(subject, self.image)
        self.times["PullImage"] = [(time.perf_counter() - began) * 1000]
        for _ in range(WARM_UP):
            self.end_pod(*self.begin_pod(keep=False), keep=False)
        alone, pods = Direct(subject), []
        while len(pods) < count:
            pods.append(self.begin_pod())
            if isinstance(subject, Crisp) and len(pods) % max(1, count // ROUNDS) == 0:
                alone.plugins()
                alone.runtime(pods[-1][1])
            if len(pods) in (CHECKPOINT, count):
                self.weigh(len(pods))
        self.ask(pods)
        self.direct = alone.times
        self.restart(pods)
        self.weigh("restarted")
        for pod in pods:
            self.end_pod(*pod)
        self.weigh("afterwards")


def measure(subject, registry, image, count):
    run = Run(subject, registry, image)
    try:
        run.measure(count)
    except BaseException:
        sys.stderr.write(subject.log_tail(20))
        raise
    finally:
        left = subject.destroy()
    if left:
        print(f"{subject.name} left behind:\n  " + "\n  ".join(left))
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="folder with the programs to measure")
    parser.add_argument("--pods", type=int, default=100)
    parser.add_argument("--handler", help="runc or crun, for both")
    parser.add_argument("--folder", default="/tmp", help="where both keep their state; on a tmpfs nothing waits for the disk")
    parser.add_argument("--alone", action="store_true", help="crisp alone, even where containerd is installed")
    parser.add_argument("--only", choices=["pods", "pulls", "stats", "streaming", "handlers"], help="a part of it")
    options = parser.parse_args()
    kinds = [Crisp]
    if not options.alone and Containerd.installed():
        kinds.append(Containerd)
    elif not options.alone:
        print("containerd is not installed: nothing to compare with")
    with tempfile.TemporaryDirectory(prefix="crisp-bench-", dir=options.folder) as folder:
        if options.only in (None, "pods"):
            measure_pods(kinds, options, folder)
        if options.only in (None, "pods", "stats"):
            measure_stats(options, folder)
        if options.only in (None, "streaming"):
            measure_streaming(options, folder)
        if options.only in (None, "handlers"):
            measure_handlers(options, folder)
        if options.only in (None, "pulls"):
            measure_pulls(kinds, options, folder)


def measure_pods(kinds, options, folder):
    runs = []
    with Registry(f"{folder}/registry") as registry:
        image = registry.push("library/busybox", "1", Image([busybox_layer()]))
        for kind in kinds:
            subject = kind(options.build, options.handler, f"{folder}/{kind.name}")
            runs.append(measure(subject, registry, image, options.pods))
        many = scale.measure(options.build, options.handler, folder, image)
    report.show(runs, options.pods, many)


def measure_stats(options, folder):
    with Registry(f"{folder}/registry-stats") as registry:
        image = registry.push("library/busybox", "1", Image([busybox_layer()]))
        report.show_stats(*stats.measure(options.build, options.handler, folder, image), stats.RUNNING, stats.RECORDS)


def measure_streaming(options, folder):
    with Registry(f"{folder}/registry-streaming") as registry:
        image = registry.push("library/busybox", "1", Image([busybox_layer()]))
        streaming.show(streaming.measure(options.build, options.handler, folder, image))


def measure_handlers(options, folder):
    count = min(options.pods, handlers.PODS)
    with Registry(f"{folder}/registry-handlers") as registry:
        image = registry.push("library/busybox", "1", Image([busybox_layer()]))
        handlers.show(*handlers.measure(options.build, folder, image, count), count)


def measure_pulls(kinds, options, folder):
    def start(registry):
        subjects = [kind(options.build, options.handler, f"{folder}/pulls-{kind.name}") for kind in kinds]
        for subject in subjects:
            subject.prepare(registry)
            subject.start()
        return subjects

    pulls.show(pulls.measure(start, f"{folder}/pulls"))


if __name__ == "__main__":
    main()
