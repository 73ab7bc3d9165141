"""The few figures the demo ends with: pods across nodes beside the kernel's VXLAN + bridge, in one run, interleaved."""

import os
import statistics

from kernel_vxlan import KernelVxlan
from rounds import NetLoad, interleave


def print_figures(cluster):
    program = os.path.join(os.path.dirname(cluster.binaries), "bench", "netload")
    kernel = KernelVxlan(cluster.lab.prefix + "k").up()
    try:
        print("\n        pod → pod across nodes, median of 12 rounds each, interleaved      Thalweg    kernel VXLAN+bridge   ratio")
        for what, mode, key, scale, cpus in (
                ("requests/s over one connection (TCP_RR)", "rr", "per_s", 1, ("0", "0")),
                ("connections/s", "crr", "per_s", 1, ("0", "0")),
                ("TCP stream, Gbit/s", "stream", "per_s", 8e-9, ("0", "1")),
                ("CPU seconds a GB", "stream", "cpu_s_per_gb", 1, ("0", "1"))):
            ours, theirs = interleave(
                NetLoad(program, mode, cluster.lab.name("web-2"), cluster.lab.name("client-1"), cluster.v4("web-2"),
                        0.25, cpus),
                NetLoad(program, mode, kernel.lab.name("a2"), kernel.lab.name("a1"), kernel.address("a2"), 0.25, cpus))
            digits = 2 if scale != 1 or "gb" in key else 0
            print(f"        {what:<68}{ours[key] * scale:>10,.{digits}f}{theirs[key] * scale:>20,.{digits}f}"
                  f"{ours[key] / theirs[key]:>10.2f}", flush=True)
    finally:
        kernel.down()
    print(f"        CNI ADD of a pod, ms, median of {len(cluster.add_ms)}: {statistics.median(cluster.add_ms):.1f}")
