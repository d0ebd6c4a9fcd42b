"""test/integration in the machine: what depends on the node with both cgroup drivers, or all of it."""
import os

import pytest
from kit import machine as machines
from kit.wait import PATIENCE

WHOLE = os.environ.get("CRISP_VM_WHOLE")
SELECTION = "" if WHOLE else "-m node"


@pytest.mark.parametrize("driver", ["systemd", "cgroupfs"])
def test_integration(shared_machine, driver, request):
    machine = shared_machine
    machines.bring_tests(machine)
    script = (f"cd /crisp && CRISP_CGROUP_DRIVER={driver} CRISP_PATIENCE={PATIENCE} "
              f"test/integration/run --build build -q -n 0 {SELECTION} --ignore-glob='*sanitizer*' >/root/{driver}.log 2>&1; echo $?")
    status = int(machine.sh(script, timeout=6 * 3600).split()[-1])
    told = machine.sh(f"cat /root/{driver}.log")
    with open(f"{machine.folder}/{driver}.log", "w") as file:
        file.write(told)
    print(told[-20000:])
    assert status == 0, told.strip().splitlines()[-1]
