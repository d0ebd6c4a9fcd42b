"""ListMetricDescriptors, ListPodSandboxMetrics: cAdvisor's metrics, by the groups that are chosen."""
import os
import json
import time

import pytest
from kit.wait import wait_for
from test_resources import CGROUPS, cgroup_v2
from test_stats import BUSY, pressure_is_counted

COUNTER, GAUGE = 0, 1
BASE = ["id", "image", "namespace", "pod", "container"]
GROUPS = {
    "cpu": {"container_cpu_user_seconds_total", "container_cpu_system_seconds_total", "container_cpu_usage_seconds_total",
            "container_cpu_cfs_periods_total", "container_cpu_cfs_throttled_periods_total", "container_cpu_cfs_throttled_seconds_total"},
    "disk": {"container_fs_inodes_free", "container_fs_inodes_total", "container_fs_limit_bytes", "container_fs_usage_bytes"},
    "diskIO": {"container_fs_reads_bytes_total", "container_fs_reads_total", "container_fs_writes_bytes_total",
               "container_fs_writes_total", "container_blkio_device_usage_total"},
    "hugetlb": {"container_hugetlb_usage_bytes", "container_hugetlb_max_usage_bytes", "container_hugetlb_failcnt"},
    "memory": {"container_memory_cache", "container_memory_rss", "container_memory_kernel_usage", "container_memory_mapped_file",
               "container_memory_swap", "container_memory_failcnt", "container_memory_usage_bytes",
               "container_memory_max_usage_bytes", "container_memory_working_set_bytes",
               "container_memory_total_active_file_bytes", "container_memory_total_inactive_file_bytes",
               "container_memory_failures_total"},
    "network": {f"container_network_{way}_{what}_total" for way in ("receive", "transmit")
                for what in ("bytes", "packets", "packets_dropped", "errors")},
    "oom": {"container_oom_events_total"},
    "process": {"container_processes", "container_file_descriptors", "container_sockets", "container_threads",
                "container_threads_max", "container_ulimits_soft"},
    "spec": {"container_spec_cpu_period", "container_spec_cpu_shares", "container_spec_cpu_quota", "container_spec_memory_limit_bytes",
             "container_spec_memory_reservation_limit_bytes", "container_spec_memory_swap_limit_bytes",
             "container_start_time_seconds"},
    "pressure": {f"container_pressure_{what}_{how}_seconds_total" for what in ("cpu", "memory", "io") for how in ("stalled", "waiting")},
}


def has_huge_pages():
    """Whether this machine counts huge pages where its containers are: in v1's hierarchy, or in the one of v2."""
    v2 = "/sys/fs/cgroup/cgroup.controllers"
    if os.path.exists(v2):
        return "hugetlb" in open(v2).read().split()
    return os.path.exists("/sys/fs/cgroup/hugetlb/cgroup.procs")


if not has_huge_pages():
    GROUPS["hugetlb"] = set()


def huge_pages_are_counted(node, container):
    """The container's own: systemd hands this controller on to nobody."""
    path = json.loads(node.client.ContainerStatus(container_id=container, verbose=True).info["info"])["cgroupPath"]
    folder = f"{CGROUPS}{path}" if cgroup_v2() else f"{CGROUPS}/hugetlb{path}"
    return os.path.isdir(folder) and any(name.startswith("hugetlb.") for name in os.listdir(folder))


def descriptors(node):
    return {d.name: d for d in node.client.ListMetricDescriptors().descriptors}


def metrics_of(node, pod):
    (found,) = [m for m in node.client.ListPodSandboxMetrics().pod_metrics if m.pod_sandbox_id == pod[0]]
    return found


def labels(known, metric):
    keys = known[metric.name].label_keys
    assert len(keys) == len(metric.label_values), metric
    return dict(zip(keys, metric.label_values))


def value(metrics, name, known, **wanted):
    found = [m for m in metrics if m.name == name and wanted.items() <= labels(known, m).items()]
    assert len(found) == 1, (name, wanted, found)
    return found[0].value.value


def test_descriptors(node):
    known = descriptors(node)
    assert set(known) == {"container_last_seen"}.union(*GROUPS.values())
    for descriptor in known.values():
        assert list(descriptor.label_keys[:5]) == BASE and descriptor.help
        assert len(set(descriptor.label_keys)) == len(descriptor.label_keys)


def test_every_metric_has_a_descriptor(node):
    pod = node.pod()
    container = node.sleeper(pod, linux={"resources": {"memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000, "cpu_period": 100000,
                                                       "cpu_shares": 512}})
    known = descriptors(node)
    found = metrics_of(node, pod)
    (mine,) = found.container_metrics
    assert mine.container_id == container
    for metric in [*found.metrics, *mine.metrics]:
        told = labels(known, metric)
        assert told["namespace"] == "default" and told["pod"] == pod[1]["metadata"]["name"]
        assert metric.HasField("value")
        assert abs(metric.timestamp - time.time_ns()) < 600e9
        counts = metric.name.endswith(("_total", "failcnt")) and metric.name != "container_fs_inodes_total"
        assert metric.metric_type == (COUNTER if counts else GAUGE), metric.name
    for metric in mine.metrics:
        told = labels(known, metric)
        assert (told["id"], told["container"], told["image"]) == (container, "main", node.status(container).image.image)
    names = {m.name for m in mine.metrics}
    counted = ["pressure"] if pressure_is_counted(node, container) else []
    counted += ["hugetlb"] if huge_pages_are_counted(node, container) else []
    for group in ("cpu", "memory", "oom", "process", "spec", *counted):
        assert GROUPS[group] <= names, GROUPS[group] - names
    seen = [(m.name, tuple(m.label_values)) for m in [*found.metrics, *mine.metrics]]
    assert len(seen) == len(set(seen))


def test_values(node):
    pod = node.pod()
    container = node.sh(pod, "trap 'exit 0' TERM; head -c 2000000 /dev/zero > /f; nc -l -p 7000 & sleep 1000 & wait",
                        linux={"resources": {"memory_limit_in_bytes": 64 << 20, "cpu_quota": 50000, "cpu_period": 100000, "cpu_shares": 512}})
    known = descriptors(node)
    def now(name):
        return value(metrics_of(node, pod).container_metrics[0].metrics, name, known)
    wait_for(lambda: now("container_processes") == 3, "three processes")
    wait_for(lambda: now("container_sockets") >= 1, "one of them to listen")
    mine = metrics_of(node, pod).container_metrics[0].metrics
    def of(name, **wanted):
        return value(mine, name, known, **wanted)
    assert of("container_spec_memory_limit_bytes") == 64 << 20
    assert (of("container_spec_cpu_quota"), of("container_spec_cpu_period")) == (50000, 100000)
    assert abs(of("container_spec_cpu_shares") - 512) <= 26
    assert 0 < of("container_memory_working_set_bytes") <= of("container_memory_usage_bytes") <= of("container_memory_max_usage_bytes")
    assert of("container_memory_failures_total", failure_type="pgfault", scope="container") > 0
    assert abs(of("container_start_time_seconds") - time.time()) < 600
    assert abs(of("container_last_seen") - time.time()) < 600
    assert (of("container_processes"), of("container_threads")) == (3, 3)
    assert of("container_file_descriptors") >= 9
    assert of("container_sockets") >= 1
    assert of("container_ulimits_soft", ulimit="max_open_files") > 0
    assert of("container_oom_events_total") == 0
    wait_for(lambda: any(m.name == "container_fs_usage_bytes" and m.value.value >= 2000000
                         for m in metrics_of(node, pod).container_metrics[0].metrics), "the writable layer", 120)
    mine = metrics_of(node, pod).container_metrics[0].metrics
    assert of("container_fs_limit_bytes") > of("container_fs_usage_bytes")
    node.stop(container)
    assert not metrics_of(node, pod).container_metrics


def test_processor_time_is_that_of_the_statistics_in_whole_seconds(node):
    pod = node.pod()
    container = node.sh(pod, BUSY)
    def used():
        return node.client.ContainerStats(container_id=container).stats.cpu.usage_core_nano_seconds.value
    wait_for(lambda: used() > 2e9, "two seconds of a processor")
    known = descriptors(node)
    before = used()
    mine = metrics_of(node, pod).container_metrics[0].metrics
    after = used()
    assert before // 10**9 <= value(mine, "container_cpu_usage_seconds_total", known, cpu="total") <= after // 10**9
    parts = [value(mine, f"container_cpu_{part}_seconds_total", known) for part in ("user", "system")]
    assert 0 < parts[0] and sum(parts) <= after // 10**9 + 1


def test_what_is_read_and_written_of_block_devices(node):
    if not os.major(os.stat(node.daemon.state).st_dev):
        pytest.skip("the daemon's state is on no block device")
    pod = node.pod()
    node.sh(pod, "dd if=/dev/zero of=/big bs=64k count=16 oflag=direct && dd if=/big of=/dev/null bs=64k iflag=direct; sleep 1000")
    def moved():
        mine = [m for m in metrics_of(node, pod).container_metrics[0].metrics if m.name in GROUPS["diskIO"]]
        done = [any(m.name == f"container_fs_{way}_bytes_total" and m.value.value >= 1 << 20 for m in mine) for way in ("reads", "writes")]
        return mine if all(done) else None
    mine = wait_for(moved, "a mebibyte each way")
    assert {m.name for m in mine} == GROUPS["diskIO"]
    known = descriptors(node)
    assert {labels(known, m).get("operation") for m in mine} == {None, "read", "write"}


def test_oom_kills_are_counted(node):
    pod = node.pod()
    node.sh(pod, "(head -c 200000000 /dev/zero | tail -c 200000000); sleep 1000", linux={"resources": {"memory_limit_in_bytes": 20 << 20}})
    known = descriptors(node)
    def killed():
        containers = metrics_of(node, pod).container_metrics
        return containers and value(containers[0].metrics, "container_oom_events_total", known)
    wait_for(killed, "a kill")


def test_a_pods_own(node):
    pod = node.pod(linux={"cgroup_parent": node.daemon.child_cgroup("mpod"), **node.namespaces()})
    node.sleeper(pod)
    known = descriptors(node)
    mine = metrics_of(node, pod).metrics
    network = [m for m in mine if m.name in GROUPS["network"]]
    assert {m.name for m in network} == GROUPS["network"]
    for metric in network:
        told = labels(known, metric)
        assert (told["id"], told["container"], told["interface"], told["image"]) == (pod[0], "POD", "eth0", "")
    # The cgroup's, which sums over containers leave out by their empty names.
    assert value(mine, "container_memory_working_set_bytes", known, container="") > 0
    assert value(mine, "container_cpu_usage_seconds_total", known, container="", cpu="total") >= 0


def test_stream(node):
    pods = [node.pod() for _ in range(2)]
    for pod in pods:
        node.sleeper(pod)
    streamed = [m for message in node.client.StreamPodSandboxMetrics() for m in message.pod_sandbox_metrics]
    assert sorted(m.pod_sandbox_id for m in streamed) == sorted(pod[0] for pod in pods)
    assert all(m.container_metrics[0].metrics for m in streamed)


@pytest.mark.parametrize("chosen, groups", [([], []), (["cpu"], ["cpu"]), (["network", "process"], ["network", "process"])])
def test_chosen_groups(own_node, chosen, groups):
    node = own_node(config={"stats": f"pod_metrics = {json.dumps(chosen)}\n"})
    pod = node.pod()
    node.sleeper(pod)
    wanted = {"container_last_seen"}.union(*(GROUPS[g] for g in groups))
    assert set(descriptors(node)) == wanted
    found = metrics_of(node, pod)
    assert {m.name for m in [*found.metrics, *found.container_metrics[0].metrics]} <= wanted
    if "cpu" in chosen:
        assert {m.name for m in found.container_metrics[0].metrics} == wanted
