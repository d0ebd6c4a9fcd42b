"""The power goes while pods, containers and images come and go. What was acknowledged is there afterwards, and nothing else."""
import os
import random
import threading
import time

import pytest
from conftest import Guest
from kit.cri import grpc
from kit.image import Image, Layer, busybox_layer
from kit.wait import wait_for
from support import EXITED, NOTREADY

CUTS = int(os.environ.get("CRISP_VM_CUTS", "50" if os.environ.get("CRISP_VM_NIGHTLY") else "3"))
SEED = int(os.environ.get("CRISP_VM_SEED", "0")) or random.randrange(1 << 30)
LONGEST = 40  # seconds of work before a cut


class Busy:
    """Pulls, creates and removes without end, and notes what was acknowledged. What is under way at the cut is neither there nor gone."""

    def __init__(self, guest, images, chance):
        self.guest, self.images, self.chance = guest, images, chance
        self.pods, self.containers, self.pulled = {}, {}, set()  # acknowledged and there
        self.unsure = set()  # what a call was about that was not answered
        self.making = set()  # pods whose containers are not there yet: another thread leaves them alone
        self.done = 0
        self.over = threading.Event()

    def attempt(self, unsure, call):
        self.unsure.add(unsure)
        result = call()
        self.unsure.discard(unsure)
        self.done += 1
        return result

    def pull(self):
        name = self.chance.choice(self.images)
        if name in self.pulled and self.chance.random() < 0.5:
            self.pulled.discard(name)
            self.attempt(name, lambda: self.guest.client.RemoveImage(image={"image": name}, deadline=60))
        else:
            self.attempt(name, lambda: self.guest.client.PullImage(image={"image": name}, deadline=120))
            self.pulled.add(name)

    def pod(self):
        config = self.guest.pod_config(linux={**self.guest.namespaces(network=2)})
        pod = self.attempt(config["metadata"]["name"], lambda: self.guest.run_pod(config, deadline=60))
        self.making.add(pod)
        self.pods[pod] = config
        container = self.attempt(pod, lambda: self.guest.create((pod, config), ["/bin/sh", "-c", "echo up; exec sleep 1000"], deadline=60))
        self.containers[container] = False
        self.attempt(container, lambda: self.guest.start(container, deadline=60))
        self.containers[container] = True
        self.making.discard(pod)

    def remove(self):
        whole = [pod for pod in list(self.pods) if pod not in self.making]
        if len(whole) < 3:
            return
        pod = self.chance.choice(whole)
        if self.pods.pop(pod, None) is None:
            return
        for container in [c.id for c in self.guest.client.ListContainers(filter={"pod_sandbox_id": pod}, deadline=60).containers]:
            self.containers.pop(container, None)
            self.unsure.add(container)
        self.attempt(pod, lambda: (self.guest.client.StopPodSandbox(pod_sandbox_id=pod, deadline=60),
                                   self.guest.client.RemovePodSandbox(pod_sandbox_id=pod, deadline=60)))

    def work(self):
        while not self.over.is_set():
            try:
                self.chance.choice([self.pull, self.pod, self.pod, self.remove])()
            except Exception:  # the cut, in whichever way it shows
                if self.over.is_set():
                    return
                time.sleep(0.2)


def check(guest, busy):
    """After the boot."""
    pods = {p.id: p for p in guest.client.ListPodSandbox().items}
    containers = {c.id: c for c in guest.client.ListContainers().containers}
    lost = [p for p in busy.pods if p not in pods]
    lost += [c for c in busy.containers if c not in containers]
    lost += [i for i in busy.pulled if i not in busy.unsure and not guest.image_status(i)]
    assert not lost, f"acknowledged, and gone: {lost}"
    for pod in busy.pods:
        assert guest.pod_status(pod).state == NOTREADY
    for container, started in busy.containers.items():
        status = guest.status(container)
        assert not started or status.state == EXITED, status
    known = set(busy.pods) | busy.unsure
    names = {config["metadata"]["name"] for config in busy.pods.values()} | busy.unsure
    more = [p.metadata.name for p in pods.values() if p.id not in known and p.metadata.name not in names]
    assert not more, f"there, though nobody asked for it or it was removed: {more}"
    machine = guest.machine
    said = machine.sh("crisp images verify 2>&1; echo $?")
    assert said.split()[-1] == "0", said
    aside = machine.sh("find /var/lib/crisp -path '*/aside/*' | head").strip()
    assert not aside, f"records that could not be read: {aside}"
    assert "Structure needs cleaning" not in machine.sh("journalctl -u crisp -b -o cat --no-pager")


def clean(guest):
    """All goes, and with it every folder."""
    guest.remove_everything()
    for image in guest.client.ListImages().images:
        guest.client.RemoveImage(image={"image": image.id})
    left = "find /var/lib/crisp/pods /var/lib/crisp/containers /var/lib/crisp/images/layers -mindepth 1 -maxdepth 1 2>/dev/null"
    wait_for(lambda: not guest.machine.sh(left).strip(), "folders of what was removed to go", 60, 1)


@pytest.fixture(scope="module")
def images(registry, busybox):
    """Some that share a layer, with enough in them that a pull lasts a while."""
    shared = Layer()
    for i in range(300):
        shared.file(f"shared/{i}", random.Random(i).randbytes(2000))
    made = []
    for n in range(3):
        own = Layer()
        for i in range(200):
            own.file(f"own{n}/{i}", random.Random(1000 * n + i).randbytes(3000))
        made.append(registry.push(f"test/cut{n}", "1", Image([busybox_layer(), shared, own])))
    return made


def test_power_cuts(new_machine, registry, busybox, images):
    print("seed", SEED)
    chance = random.Random(SEED)
    machine = new_machine()
    guest = Guest(machine, registry, busybox)
    for number in range(CUTS):
        guest.pull(busybox)
        busy = Busy(guest, images, random.Random(chance.random()))
        workers = [threading.Thread(target=busy.work, daemon=True) for _ in range(2)]
        for worker in workers:
            worker.start()
        wait_for(lambda: busy.done > 2, "the work to go on", 120)
        time.sleep(chance.uniform(0, LONGEST))
        busy.over.set()
        machine.cut()
        for worker in workers:
            worker.join(200)
        print(f"cut {number}: {busy.done} calls, {len(busy.pods)} pods, {len(busy.pulled)} images, {len(busy.unsure)} under way")
        machine.boot()
        check(guest, busy)
        clean(guest)


@pytest.mark.skipif(not os.environ.get("CRISP_VM_NIGHTLY"), reason="in the nightly form: to fill an emulated disk takes minutes")
def test_a_full_disk_and_one_that_cannot_be_written(new_machine, registry, busybox):
    machine = new_machine()
    guest = Guest(machine, registry, busybox)
    guest.pull(busybox)
    pod = guest.pod(linux=guest.namespaces(network=2))
    container = guest.sh(pod, "trap 'exit 5' TERM; while :; do sleep 1; done")
    machine.sh("dd if=/dev/zero of=/filler bs=1M 2>/dev/null; sync; true", timeout=1800)
    assert guest.status(container).state == 1
    with pytest.raises(grpc.RpcError) as refused:
        for n in range(50):
            guest.pod(name=f"full{n}", linux=guest.namespaces(network=2))
    assert "space" in refused.value.details().lower(), refused.value.details()
    guest.stop(container, timeout=20)
    assert guest.wait_exit(container).exit_code == 5
    machine.sh("rm /filler && sync")
    again = guest.pod(linux=guest.namespaces(network=2))
    guest.wait_exit(guest.sh(again, "true"))
    # As the kernel does after an error of the disk.
    container = guest.sleeper(again, name="late")
    machine.sh("echo u >/proc/sysrq-trigger; sleep 2; grep ' / ' /proc/mounts | grep -q ro,")
    assert guest.client.ListPodSandbox().items and guest.status(container).state == 1
    with pytest.raises(grpc.RpcError) as refused:
        guest.pod(linux=guest.namespaces(network=2))
    assert "read-only" in refused.value.details().lower(), refused.value.details()
    machine.reboot() if machine.status("true") == 0 else machine.cut()
    guest.remove_everything()
