"""How much memory crisp-image takes."""
import os
import threading


def _facts(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


class Peak:
    """The largest resident size, in MB, of any crisp-image that this daemon has started, while it is looked at. A context manager."""

    def __init__(self, daemon_pid):
        self.daemon_pid, self.value, self.seen, self.ended = daemon_pid, 0.0, 0, threading.Event()

    def _look(self):
        while not self.ended.wait(0.005):
            for pid in self._children():
                try:
                    facts = _facts(pid)
                    if facts["Name"] == "crisp-image":
                        self.seen += 1
                        self.value = max(self.value, int(facts["VmHWM"].split()[0]) / 1024)
                except (OSError, KeyError):
                    continue  # it has ended

    def _children(self):
        found = []
        try:
            for task in os.listdir(f"/proc/{self.daemon_pid}/task"):
                with open(f"/proc/{self.daemon_pid}/task/{task}/children") as file:
                    found += file.read().split()
        except OSError:
            pass
        return found

    def __enter__(self):
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
