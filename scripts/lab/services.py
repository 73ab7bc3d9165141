"""scripts/bench services: the agent at 10,000 Services and 250,000 endpoints.

The objects come from an API server on this machine (tests/bench/cluster_server) by the real protocol, and the tables
are the kernel's. No Pod objects stand behind the endpoints: a pod of another node adds nothing to a service's rows."""

import os
import statistics
import time

from host import Lab
from service_node import ServiceNode

SERVICES, ENDPOINTS_EACH = 10_000, 25
STARTS, CHANGES = 3, 1000
GOALS = {"cold_start_s": 2.0, "warm_start_writes": 0, "agent_rss_mb": 200, "endpoint_change_p99_ms": 5.0}


def row(metric, unit, ours, peer="the goal", theirs=None):
    theirs = GOALS[metric] if theirs is None else theirs
    return {"bench": "services", "metric": metric, "unit": unit, "ours": round(ours, 4), "peer": peer,
            "theirs": round(theirs, 4), "ratio": round(ours / theirs, 4) if theirs else None}


def fresh_lab(prefix):
    lab = Lab(prefix, f"/run/thalweg-lab/{prefix}")
    lab.sweep()
    os.makedirs(lab.folder)
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
