"""The messages of shims, made from api/ by protoc: what its own Python knows of them is nothing of ours."""
import importlib
import subprocess
import sys
import tempfile

from .paths import TOP, program

NAMES = ("ttrpc/ttrpc", "ttrpc/status", "shim/task_v3", "shim/task", "shim/mount", "shim/runtimeoptions_v1", "shim/runc_options",
         "shim/event", "shim/events_v1", "shim/task_events", "shim/metrics", "shim/platform", "shim/sandbox_v1", "shim/cgroup1_metrics",
         "shim/cgroup2_metrics")


def _generate():
    with tempfile.TemporaryDirectory(prefix="crisp-shim-") as folder:
        files = [f"{TOP}/api/{name}.proto" for name in NAMES]
        # The well-known types are protobuf's own here.
        subprocess.run([program("protoc"), f"--proto_path={TOP}/api", f"--python_out={folder}", *files], check=True)
        sys.path.insert(0, folder)
        try:
            return {name.split("/")[-1]: importlib.import_module(name.replace("/", ".") + "_pb2") for name in NAMES}
        finally:
            sys.path.remove(folder)


_modules = _generate()
ttrpc, status, task, options, runc_options = (_modules[name] for name in ("ttrpc", "status", "task_v3", "runtimeoptions_v1", "runc_options"))
events, event, task_events = (_modules[name] for name in ("events_v1", "event", "task_events"))
states = _modules["task"]
sandbox, metrics1, metrics2 = (_modules[name] for name in ("sandbox_v1", "cgroup1_metrics", "cgroup2_metrics"))
