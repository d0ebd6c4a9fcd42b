"""crisp check: each thing that a node needs, with pass or what to do."""
import json
import os
import subprocess


def check(daemon, *words):
    done = subprocess.run([daemon.crisp, "check", "--config", f"{daemon.root}/crisp.toml", *words], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=120)
    # a daemon built with AddressSanitizer says on each start that it cannot follow tasks
    said = [line for line in done.stderr.splitlines(True) if "ASan doesn't fully support" not in line]
    return done.returncode, done.stdout, "".join(said)


def findings(daemon):
    code, out, err = check(daemon, "--json")
    assert not err
    found = {}
    for each in json.loads(out):
        found.setdefault(each["what"], []).append((each["verdict"], each["text"]))
    return code, found


def test_a_node_that_is_in_order(daemon):
    code, found = findings(daemon)
    wrong = {what: texts for what, texts in found.items() if [t for v, t in texts if v == "FAIL"]}
    assert code == 0 and not wrong
    for what in ("kernel", "overlayfs", "cgroups", "programs", "CNI", "registries", "free space", f"handler {daemon.handler}", "state_dir"):
        assert found[what][0][0] == "pass", what
    assert found["daemon"][0][1].startswith("runs")
    code, out, _ = check(daemon)
    assert code == 0 and out.rstrip().endswith("0 failed")


def test_what_is_wrong_says_what_to_do(own_daemon, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    daemon = own_daemon(start=False, network=False, config={
        "runtime.handlers.gone": 'kind = "oci"\npath = "/no/such/runtime"\n',
        "runtime.handlers.broken": f'kind = "oci"\npath = "{broken}"\n',
    })
    with open(f"{daemon.root}/registries.conf", "w") as file:
        file.write("unqualified-search-registries = 3\n")
    with open(f"{daemon.root}/policy.json", "w") as file:
        file.write("{")
    before = sorted(os.listdir(daemon.run))
    code, found = findings(daemon)
    assert code == 1
    assert found["CNI"][0][0] == "FAIL" and daemon.cni in found["CNI"][0][1]
    assert found["registries"][0][0] == "FAIL" and "registries.conf" in found["registries"][0][1]
    assert found["signature policy"][0][0] == "FAIL"
    assert found["handler gone"][0][0] == "warning" and "/no/such/runtime" in found["handler gone"][0][1]
    assert found["handler broken"][0][0] == "warning"
    assert found[f"handler {daemon.handler}"][0][0] == "pass"
    assert "does not run" in found["daemon"][0][1]
    assert sorted(os.listdir(daemon.run)) == before, "it leaves nothing"


def test_a_default_handler_that_is_missing_fails(own_daemon):
    daemon = own_daemon(start=False)
    path = f"{daemon.root}/crisp.toml"
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace(daemon.handler_config(), daemon.handler_config().replace('path = "', 'path = "/no')))
    code, found = findings(daemon)
    assert code == 1 and found[f"handler {daemon.handler}"][0][0] == "FAIL"


def test_a_configuration_that_is_wrong_is_told(own_daemon):
    daemon = own_daemon(start=False, config={"limits": "max_taks = 3\n"})
    code, out, err = check(daemon)
    assert code == 1 and not out and "max_tasks" in err and "crisp.toml" in err
    with open(f"{daemon.root}/crisp.toml", "w") as file:
        file.write(f'state_dir = "{daemon.state}"\nrun_dir = "{daemon.run}"\n')
