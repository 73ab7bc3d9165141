"""scripts/bench: a row a figure, ours beside a peer or the physical floor.

Each bench yields Figures. A program of tests/bench prints them as JSON lines itself; the ones made here need the lab."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cluster import CNI_VERSION, Cluster, run_plugin, write  # noqa: E402
from host import LabError, ip  # noqa: E402
from kernel_vxlan import KernelVxlan  # noqa: E402
from rounds import NetLoad, interleave  # noqa: E402
from services import connections, scale  # noqa: E402

BUILD = os.path.realpath(f"{os.path.dirname(os.path.abspath(__file__))}/../../build")
REFERENCE = "/usr/lib/cni"
REFERENCE_STATE = "/run/thalweg-lab/reference-ipam"


def figure(bench, metric, unit, ours, peer, theirs):
    return {"bench": bench, "metric": metric, "unit": unit, "ours": round(ours, 4), "peer": peer,
            "theirs": round(theirs, 4), "ratio": round(ours / theirs, 4) if theirs else None}


def kernel_release():
    return os.uname().release.split("-")[0]


# ---- programs of tests/bench ---------------------------------------------------------------------------------

def program(name, *arguments):
    def rows():
        path = f"{BUILD}/bench/{name}"
        if not os.path.exists(path):
            raise LabError(f"{path} is not built")
        done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise LabError(f"{name}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return rows


# ---- pod to pod ------------------------------------------------------------------------------------------------

def pod_to_pod():
    """TCP_RR, connections and streams between pods, same node and across nodes, beside the kernel's own parts."""
    cluster, kernel = Cluster(f"{BUILD}/bin", "twb"), KernelVxlan("twbk")
    load = f"{BUILD}/bench/netload"
    try:
        cluster.up()
        kernel.up()
        for where, pods, peers in (("local", ("web-1", "client-1"), ("b1", "a1")),
                                   ("vxlan", ("web-2", "client-1"), ("a2", "a1"))):
            peer = f"{'bridge' if where == 'local' else 'VXLAN + bridge'} (kernel {kernel_release()})"

            def pair(mode, cpus, pods=pods, peers=peers):
                return interleave(
                    NetLoad(load, mode, cluster.lab.name(pods[0]), cluster.lab.name(pods[1]), cluster.v4(pods[0]), 0.5, cpus),
                    NetLoad(load, mode, kernel.lab.name(peers[0]), kernel.lab.name(peers[1]), kernel.address(peers[0]), 0.5, cpus))
            for mode in ("rr", "crr"):
                ours, theirs = pair(mode, ("0", "0"))
                for side, busy in (("ours", ours["busy"]), ("theirs", theirs["busy"])):
                    if busy < 0.9:
                        print(f"bench: {mode} {where}: {side} kept the CPU only {busy:.0%} busy: read cpu_us, not per_s", file=sys.stderr)
                yield figure("packet", f"{mode}_{where}_per_s", "1/s", ours["per_s"], peer, theirs["per_s"])
                yield figure("packet", f"{mode}_{where}_cpu_us", "CPU µs", ours["cpu_us"], peer, theirs["cpu_us"])
            ours, theirs = pair("stream", ("0", "1"))
            yield figure("packet", f"stream_{where}_cpu_per_gb", "CPU s/GB", ours["cpu_s_per_gb"], peer, theirs["cpu_s_per_gb"])
            yield figure("packet", f"stream_{where}_gbit_per_s", "Gbit/s", ours["per_s"] * 8e-9, peer, theirs["per_s"] * 8e-9)
    finally:
        cluster.down()
        kernel.down()


# ---- CNI -------------------------------------------------------------------------------------------------------

CNI_ROUNDS = 50


def percentile(values, of_100):
    return sorted(values)[min(len(values) - 1, int(len(values) * of_100 / 100))]


def reference_cni(verb, ns, number):
    """bridge + host-local as Debian packages them, called as a runtime does."""
    config = {"cniVersion": "1.0.0", "name": "reference", "type": "bridge", "bridge": "twbcni0", "isGateway": True,
              "ipam": {"type": "host-local", "dataDir": REFERENCE_STATE, "ranges": [[{"subnet": "10.246.0.0/16"}]],
                       "routes": [{"dst": "0.0.0.0/0"}]}}
    environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": f"bench{number + 1}", "CNI_IFNAME": "eth0",
                   "CNI_NETNS": f"/run/netns/{ns}", "CNI_PATH": REFERENCE, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    # In a namespace of its own, as our agent is: its bridge must not appear on the host.
    return ["nsenter", "--net=/run/netns/twb-refnode", f"{REFERENCE}/bridge"], json.dumps(config), environment


def cni():
    """ADD and DEL of the cluster plugin beside bridge + host-local; every round on a fresh namespace."""
    version = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "containernetworking-plugins"], capture_output=True,
                             text=True).stdout
    cluster = Cluster(f"{BUILD}/bin", "twb")
    took = {key: [] for key in ("ours ADD", "ours DEL", "theirs ADD", "theirs DEL", "exec")}
    try:
        cluster.up()
        cluster.lab.add_namespace("refnode")
        folder = f"{cluster.folder}/opt/cni/bin"

        def timed(key, verb, ns, number):
            if key == "theirs":
                command, config, environment = reference_cni(verb, ns, number)
            else:
                command = ["nsenter", "--net=/run/netns/twb-n1", f"{folder}/thalweg-cni"]
                config = json.dumps({"cniVersion": CNI_VERSION, "name": "thalweg", "type": "thalweg-cni",
                                     "agentSocket": f"{cluster.run_dir('n1')}/agent.sock"})
                environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": f"bench{number + 1}", "CNI_IFNAME": "eth0",
                               "CNI_NETNS": f"/run/netns/{ns}", "CNI_PATH": folder, "PATH": "/usr/bin:/bin",
                               "CNI_ARGS": "K8S_POD_NAMESPACE=demo;K8S_POD_NAME=bench"}
            begun = time.monotonic()
            done = run_plugin(command, config, environment)
            if number >= 0:  # the first pair, -1, warms up
                took[f"{key} {verb}"].append((time.monotonic() - begun) * 1000)
            if done.returncode != 0:
                raise LabError(f"CNI {verb} ({key}): {done.stdout.strip()} {done.stderr.strip()}")

        write(f"{cluster.manifests}/pods/bench.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: bench, namespace: demo}\n"
              "spec: {nodeName: n1, containers: [{name: bench, image: bench}]}\n")
        for number in range(-1, CNI_ROUNDS):
            for key in (("ours", "theirs") if number % 2 == 0 else ("theirs", "ours")):
                ns = cluster.lab.add_namespace(f"bench-{key}")
                timed(key, "ADD", ns, number)
                timed(key, "DEL", ns, number)
                ip("netns", "del", ns)
            begun = time.monotonic()
            subprocess.run(["nsenter", "--net=/run/netns/twb-n1", "/bin/true"], check=True)
            took["exec"].append((time.monotonic() - begun) * 1000)
    finally:
        cluster.down()
        subprocess.run(["rm", "-rf", REFERENCE_STATE], check=False)
    peer = f"bridge+host-local (containernetworking-plugins {version})"
    for verb in ("ADD", "DEL"):
        for name, of_100 in (("p50", 50), ("p99", 99)):
            yield figure("cni", f"thalweg_{verb.lower()}_{name}_ms", "ms", percentile(took[f"ours {verb}"], of_100), peer,
                         percentile(took[f"theirs {verb}"], of_100))
    yield figure("cni", "thalweg_add_over_exec_ms", "ms", statistics.median(took["ours ADD"]), "fork+exec of /bin/true",
                 statistics.median(took["exec"]))


BENCHES = {"packet": [program("packet_bench"), pod_to_pod], "policy": [program("policy_bench")], "cni": [program("cni_bench", f"{BUILD}/cni-bin", REFERENCE), cni],
           "edge": [program("edge_bench")], "services": [lambda: scale(f"{BUILD}/bin"), lambda: connections(f"{BUILD}/bin")]}


def print_row(row, as_json):
    if as_json:
        print(json.dumps(row), flush=True)
    else:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(f"{row['bench']:<8} {row['metric']:<28} {row['ours']:>14,.2f} {row['theirs']:>14,.2f} {ratio:>7}  "
              f"{row['unit']:<9} {row['peer']}", flush=True)


def main():
    flags = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    flags.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {' '.join(BENCHES)} (default: all)")
    flags.add_argument("--json", action="store_true", help="one JSON object a line: bench metric unit ours peer theirs ratio")
    flags.add_argument("--list", action="store_true", help="only list the benches")
    options = flags.parse_args()
    if options.list:
        print("\n".join(BENCHES))
        return 0
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        flags.error(f"no bench named {', '.join(unknown)}: there are {', '.join(BENCHES)}")
    if not options.json:
        print(f"{'bench':<8} {'metric':<28} {'ours':>14} {'theirs':>14} {'ratio':>7}  {'unit':<9} peer")
    failed = False
    for name in options.names or BENCHES:
        for rows in BENCHES[name]:
            try:
                for row in rows():
                    print_row(row, options.json)
            except (LabError, RuntimeError, OSError) as error:
                print(f"bench {name}: {error}", file=sys.stderr)
                failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
