"""
Many containers: how long a start with them takes, and a list of them. They have ended, and all but one were made from its records.
The first step's ended while no daemon was there, and have to be cleaned up; the others have been for long.
"""
import json
import os
import secrets
import shutil
import time

from kit.cri import pb
from subjects import Crisp, pss
from support import Node

PATH = "/runtime.v1.RuntimeService/ListContainers"
LISTS = 100
STEPS = (500, 10000)  # containers


def copy(daemon, original, number, clean):
    """One more container as its records would tell of it."""
    name = secrets.token_hex(32)
    source, target = f"{daemon.state}/containers/{original}", f"{daemon.state}/containers/{name}"
    os.mkdir(target, 0o700)
    with open(f"{source}/config.pb", "rb") as file:
        request = pb.CreateContainerRequest.FromString(file.read())
    request.config.metadata.name = f"copy{number}"
    with open(f"{target}/config.pb", "wb") as file:
        file.write(request.SerializeToString())
    with open(f"{source}/record.json") as file:
        record = json.load(file)
    with open(f"{target}/record.json", "w") as file:
        if clean:
            record.update(phase="exited", clean=True, reason="Completed")
        json.dump({**record, "log_path": record["log_path"].replace("main", f"copy{number}")}, file)
    shutil.copy(f"{source}/exit", f"{target}/exit")
    return name


def measure(build, handler, folder, image):
    """A list of (containers, ms until the first answer after a start, ms of each list, MB)."""
    daemon, results, copies = Crisp(build, handler, f"{folder}/scale"), [], []
    try:
        daemon.start()
        node = Node(daemon, image)
        original = node.run(node.pod(), ["true"])
        node.wait_exit(original)
        for count in STEPS:
            daemon.terminate()
            while len(copies) < count - 1:
                copies.append(copy(daemon, original, len(copies), count > STEPS[0]))
            began = time.perf_counter()
            daemon.start()
            started = (time.perf_counter() - began) * 1000
            times = []
            for _ in range(LISTS):
                # As bytes: reading ten thousand messages takes Python longer than making them takes the daemon.
                began = time.perf_counter()
                answer = daemon.client.raw(PATH, b"")
                times.append((time.perf_counter() - began) * 1000)
            listed = len(pb.ListContainersResponse.FromString(answer).containers)
            assert listed == count, f"{listed} of {count} containers are listed"
            results.append((count, started, times, pss(daemon.pid)))
        daemon.terminate()
        for name in copies:
            shutil.rmtree(f"{daemon.state}/containers/{name}")
        daemon.start()
        daemon.remove_everything()
    finally:
        left = daemon.destroy()
        if left:
            print("the daemon with many containers left behind:\n  " + "\n  ".join(left[:20]))
    return results
