"""scripts/bench services: the agent at 10,000 Services and 250,000 endpoints, and connections among many Services.

The objects come from an API server on this machine (tests/bench/cluster_server) by the real protocol, and the tables
are the kernel's. No Pod objects stand behind the endpoints: a pod of another node adds nothing to a service's rows."""

import statistics
import time

from host import Lab
from kube_proxy import KubeProxyNode
from rounds import NetLoad, interleave_all
from service_node import UNDISTURBED, ServiceNode, cluster_ip

SERVICES, ENDPOINTS_EACH = 10_000, 25
STARTS, CHANGES = 3, 1000
GOALS = {"cold_start_s": 2.0, "warm_start_writes": 0, "agent_rss_mb": 200, "endpoint_change_p99_ms": 5.0}


def row(metric, unit, ours, peer="the goal", theirs=None):
    theirs = GOALS[metric] if theirs is None else theirs
    return {"bench": "services", "metric": metric, "unit": unit, "ours": round(ours, 4), "peer": peer,
            "theirs": round(theirs, 4), "ratio": round(ours / theirs, 4) if theirs else None}


def fresh_lab(prefix):
    lab = Lab(prefix, f"/run/thalweg-lab/{prefix}")
    lab.clear()
    return lab


def scale(binaries):
    """Starts from nothing and on valid pins, then changes one endpoint at a time; each from the event to the kernel."""
    lab = fresh_lab("twbs")
    try:
        cold, cpu = [], []
        for start in range(STARTS):
            node = ServiceNode(lab, binaries, f"s{start}", SERVICES, ENDPOINTS_EACH).prepare()
            cold.append(node.start_agent())
            cpu.append(node.agent_cpu_s())
            if start + 1 < STARTS:
                node.down()
        yield row("cold_start_s", "s", statistics.median(cold))
        yield row("cold_start_cpu_s", "CPU s", statistics.median(cpu), "wall time of the same", statistics.median(cold))
        took = sorted(node.changes(CHANGES))
        yield row("endpoint_change_p99_ms", "ms", took[len(took) * 99 // 100])
        yield row("endpoint_change_p50_ms", "ms", took[len(took) // 2], "its own p99", took[len(took) * 99 // 100])
        time.sleep(5)  # the objects are saved by now
        yield row("agent_rss_mb", "MB", node.agent_memory_mb())
        yield row("agent_rss_peak_mb", "MB", node.agent_memory_mb("VmHWM"), "resident now", node.agent_memory_mb())
        node.stop_agent()
        warm = node.start_agent()
        yield row("warm_start_writes", "rows", node.status()["changesApplied"])
        yield row("warm_start_s", "s", warm, "cold start", statistics.median(cold))
    finally:
        lab.sweep()


# ---- connections

SIZES = {"10": 10, "10k": 10_000, "100k": 100_000}
PEERS = (("iptables", "10", 10), ("iptables", "10k", 10_000), ("nftables", "10", 10), ("nftables", "10k", 10_000))
SECONDS, ROUNDS = 0.25, 12
HOOKED, BY_PACKETS = 80, 81  # the ports of Services 0 and 1: flows of one kind must not meet those of the other


def loads(binaries, server, client, address, port=HOOKED, cgroup=None):
    """connect() and close() from the client's namespace; in a cgroup or, without one, past every socket hook."""
    join = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', cgroup) if cgroup else ()
    return NetLoad(f"{binaries}/../bench/netload", "connect", server, client, address, SECONDS, ("0", "0"), port,
                   (*UNDISTURBED, *join))


def service_node(lab, binaries, name, services):
    """A node whose Services 0 and 1 have the pod `server` as their endpoint; the pod's address beside it."""
    node = ServiceNode(lab, binaries, f"c{name}", services, 1).prepare()
    node.start_agent("--verify-ms", "3600000")  # nothing of the agent runs beside the rounds
    server, _ = node.add_pod("server"), node.add_pod("client")
    for number, port in enumerate((HOOKED, BY_PACKETS)):
        node.command(f"target {number} {server} {port}")
    return node, server


def connections(binaries):
    """Pod to ClusterIP to a pod of the same node, through the socket hooks, beside the same pods without a Service.

    The peers are nodes of kube-proxy's making, their pods likewise on one node. All sides take turns in one run, client
    and server on one CPU."""
    lab = fresh_lab("twbc")
    try:
        sides, labels = [], []
        for size, services in SIZES.items():
            node, address = service_node(lab, binaries, size, services)
            pods = (node.netns("server"), node.netns("client"))
            sides += [loads(binaries, *pods, cluster_ip(0), cgroup=node.cgroup("pods")), loads(binaries, *pods, address),
                      loads(binaries, *pods, cluster_ip(1), BY_PACKETS)]
            labels += [f"connect_{size}", f"direct_{size}", f"packets_{size}"]
        for kind, size, services in PEERS:
            peer = KubeProxyNode(lab, f"{kind[0]}{size}", services, HOOKED).up()
            peer.use_iptables() if kind == "iptables" else peer.use_nftables()
            sides.append(loads(binaries, peer.netns("server"), peer.netns("client"), peer.vip))
            labels.append(f"{kind}_{size}")
        seen = dict(zip(labels, (side["per_s"] for side in interleave_all(sides, ROUNDS))))
    finally:
        lab.sweep()
    for size in SIZES:
        ours = seen[f"connect_{size}"]
        yield row(f"connect_{size}_per_s", "1/s", ours, "direct, no socket hooks", seen[f"direct_{size}"])
        for kind in ("iptables", "nftables"):
            if f"{kind}_{size}" in seen:
                yield row(f"connect_{size}_over_{kind}", "1/s", ours, f"{kind} as kube-proxy makes it", seen[f"{kind}_{size}"])
        yield row(f"connect_{size}_by_packets_per_s", "1/s", seen[f"packets_{size}"], "direct, no socket hooks",
                  seen[f"direct_{size}"])
    yield row("connect_flatness", "1/s", seen["connect_100k"], "among 10 Services", seen["connect_10"])
