"""
What each kind of handler costs: the start of a pod with one container, a command in it, and the memory that stays beside it. One
daemon for each, side by side, and pods in turn, so that they meet the same machine.
"""
import os
import time

from kit import legacy_cgroups
from kit.cri import pb
from kit.paths import program
from report import median, percentile
from subjects import Crisp, pss, processes
from support import Node

HANDLERS = {"runc": "runc", "crun": "crun", "shim": "containerd-shim-runc-v2"}
WARM_UP = 2  # pods of each
PODS = 30  # of each, at most
SETTLE = 2  # seconds until memory is looked at
CALLS = ("RunPodSandbox", "CreateContainer + StartContainer", "start of a pod", "ExecSync", "end of a pod")


def installed(name):
    try:
        return bool(program(name))
    except FileNotFoundError:
        return False


class Subject:
    def __init__(self, build, handler, folder, image):
        self.handler = handler
        self.daemon = Crisp(build, handler, f"{folder}/{handler}")
        if handler != "shim":
            self.daemon.wrapper = legacy_cgroups.wrapper(program(handler))
        self.daemon.start()
        self.node = Node(self.daemon, image)
        self.times = {call: [] for call in CALLS}
        self.pods = []

    def timed(self, call, function):
        began = time.perf_counter()
        result = function()
        self.times[call].append((time.perf_counter() - began) * 1000)
        return result

    def start_container(self, pod, config):
        os.makedirs(f"{config['log_directory']}/main", exist_ok=True)
        container = self.node.container_config(["/bin/sleep", "1000000"])
        container["linux"] = {"security_context": config["linux"]["security_context"]}
        create = pb.CreateContainerRequest(pod_sandbox_id=pod, config=container, sandbox_config=config)
        made = self.daemon.client.invoke("CreateContainer", create).container_id
        self.daemon.client.StartContainer(container_id=made)
        return made

    def begin(self):
        config = self.node.pod_config()
        began = time.perf_counter()
        pod = self.timed("RunPodSandbox", lambda: self.daemon.client.RunPodSandbox(config=config).pod_sandbox_id)
        container = self.timed("CreateContainer + StartContainer", lambda: self.start_container(pod, config))
        self.times["start of a pod"].append((time.perf_counter() - began) * 1000)
        done = self.timed("ExecSync", lambda: self.daemon.client.ExecSync(container_id=container, cmd=["true"], timeout=60))
        assert done.exit_code == 0, done
        self.pods.append(pod)

    def end(self):
        pod = self.pods.pop()

        def stop_and_remove():
            self.daemon.client.StopPodSandbox(pod_sandbox_id=pod)
            self.daemon.client.RemovePodSandbox(pod_sandbox_id=pod)

        self.timed("end of a pod", stop_and_remove)

    def helpers(self):
        """Monitors and shims of its pods, in MB of proportional set size for each pod."""
        own = [pid for pid, words in processes() if self.daemon.socket in words or any(self.daemon.root in word for word in words)]
        kinds = {"monitor": "crisp-monitor", "shim": "containerd-shim-runc-v2"}
        by_name = {pid: os.path.basename(words[0]) for pid, words in processes()}
        return {kind: sum(pss(pid) for pid in own if by_name.get(pid) == name) / len(self.pods) for kind, name in kinds.items()}


def measure(build, folder, image, count):
    names = [handler for handler, name in HANDLERS.items() if installed(name)]
    subjects, memory = [], {}
    try:
        for handler in names:
            subjects.append(Subject(build, handler, folder, image))
        for _ in range(WARM_UP):
            for subject in subjects:
                subject.begin()
                subject.end()
        for subject in subjects:
            subject.times = {call: [] for call in CALLS}
        for _ in range(count):
            for subject in subjects:
                subject.begin()
        time.sleep(SETTLE)
        memory = {subject.handler: (pss(subject.daemon.pid), subject.helpers()) for subject in subjects}
        for _ in range(count):
            for subject in subjects:
                subject.end()
    finally:
        left = [(subject.handler, subject.daemon.destroy()) for subject in subjects]
    for handler, lines in left:
        if lines:
            print(f"{handler} left behind:\n  " + "\n  ".join(lines))
    return subjects, memory


def show(subjects, memory, count):
    print(f"\nHandlers, {count} pods of one container each\n")
    print(f"{'ms':34}" + "".join(f"{subject.handler:>12}{'99th':>9}" for subject in subjects))
    for call in CALLS:
        print(f"{call:34}" + "".join(f"{median(subject.times[call]):12.2f}{percentile(subject.times[call]):9.2f}" for subject in subjects))
    print(f"\n{'MB of proportional set size':34}" + "".join(f"{subject.handler:>12}{'':9}" for subject in subjects))
    for name, value in (("daemon", lambda daemon, each: daemon), ("monitor, for each pod", lambda daemon, each: each["monitor"]),
                        ("shim, for each pod", lambda daemon, each: each["shim"]),
                        ("beside each pod", lambda daemon, each: sum(each.values()))):
        print(f"{name:34}" + "".join(f"{value(*memory[subject.handler]):12.2f}{'':9}" for subject in subjects))
