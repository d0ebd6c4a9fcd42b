"""test/integration in the machine: what depends on the node, or all of it."""
import glob
import os

import pytest
from kit import machine as machines
from kit.paths import TOP
from kit.wait import PATIENCE

NIGHTLY = os.environ.get("CRISP_VM_NIGHTLY")
COMBINATIONS = [("systemd", "runc"), ("systemd", "crun"), ("cgroupfs", "runc"), ("cgroupfs", "crun")]


def selection():
    """What pytest is told. Only the files that matter: to look through all takes an emulated machine minutes."""
    if NIGHTLY:
        return ""
    names = []
    for path in sorted(glob.glob(f"{TOP}/test/integration/test_*.py")):
        with open(path, encoding="utf-8") as file:
            if "@pytest.mark.node" in file.read():
                names.append(os.path.basename(path))
    return " ".join(["-m node", *names])


@pytest.mark.parametrize("driver, runtime", COMBINATIONS if NIGHTLY else COMBINATIONS[:1])
def test_integration(shared_machine, driver, runtime):
    machine = shared_machine
    machines.bring_tests(machine)
    name = f"{driver}-{runtime}"
    script = (f"cd /crisp && CRISP_CGROUP_DRIVER={driver} CRISP_PATIENCE={PATIENCE} "
              f"test/integration/run --build build --handler {runtime} -q -n 2 {selection()} >/root/{name}.log 2>&1; echo $?")
    status = int(machine.sh(script, timeout=(24 if NIGHTLY else 3) * 3600).split()[-1])
    told = machine.sh(f"cat /root/{name}.log")
    with open(f"{machine.folder}/{name}.log", "w", encoding="utf-8") as file:
        file.write(told)
    print(told[-20000:])
    assert status == 0, told.strip().splitlines()[-1]
