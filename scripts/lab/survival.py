"""Live traffic through two nodes while their agents are stopped, killed, upgraded to a build with another table layout
and downgraded again. Nothing may be lost, reset, or let in that is forbidden. CTest runs it; scripts/test --soak longer.

Each cycle takes one node's agent, ends it (politely, or by SIGKILL), starts one of the two builds, often kills that at
a random moment, too, and starts one for good. Traffic (tests/survival/traffic.cc) runs through it all."""

import argparse
import json
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cluster import NODES, PODS, Cluster, write  # noqa: E402
from demo import show_logs  # noqa: E402
from host import LabError, cgroup2_root, wait_for  # noqa: E402

PORT, NODE_PORT, VIP4, VIP6 = "7000", "30700", "10.96.0.70", "fd00:10:96::70"
SERVERS = ("web-1", "web-2", "api-1")
MANIFEST = f"""
apiVersion: v1
kind: Service
metadata: {{name: traffic, namespace: demo}}
spec:
  type: NodePort
  selector: {{app: web}}
  clusterIP: {VIP4}
  clusterIPs: ["{VIP4}", "{VIP6}"]
  ipFamilyPolicy: RequireDualStack
  ipFamilies: [IPv4, IPv6]
  ports:
  - {{name: tcp, protocol: TCP, port: {PORT}, targetPort: {PORT}, nodePort: {NODE_PORT}}}
  - {{name: udp, protocol: UDP, port: {PORT}, targetPort: {PORT}, nodePort: {NODE_PORT}}}
"""


class SurvivalCluster(Cluster):
    """The demo's nodes and pods with agents of either build; no DNS, no ingress, no edge."""

    def __init__(self, *arguments, next_agent, **options):
        super().__init__(*arguments, **options)
        self.builds = {"this": f"{self.binaries}/thalwegd", "next": next_agent}
        self.runs = {node: "this" for node in NODES}

    def start_servers(self):
        write(f"{self.manifests}/traffic.yaml", MANIFEST)

    def wait_servers(self):
        pass

    def start_agent(self, node):
        self.binary = self.builds[self.runs[node]]
        super().start_agent(node)

    def agent_binary(self):
        return self.binary


class Traffic:
    """Every sender and server; what they found when they were ended."""

    def __init__(self, cluster, program, connections):
        self.cluster, self.program, self.running = cluster, program, {}
        for pod in SERVERS:
            self.start(f"serve {pod}", pod, "serve", PORT)
        time.sleep(0.3)
        n = str(connections * 4 // 10), str(connections * 3 // 10), str(connections * 3 // 10)
        out = NODES["n1"][0]
        self.start("hold service", "client-1", "hold", n[0], VIP4, PORT)
        self.start("hold pod", "client-2", "hold", n[1], cluster.v6("web-1"), PORT)
        self.start("hold nodeport", "out", "hold", n[2], out, NODE_PORT)
        for name in ("hold service", "hold pod", "hold nodeport"):
            line = self.running[name].stdout.readline()
            if line.strip() != "ready":
                raise LabError(f"{name}: {line.strip() or 'did not connect'}")
        self.start("probe service", "client-1", "probe", "200", VIP4, PORT)
        self.start("probe service v6", "client-2", "probe", "200", VIP6, PORT)
        self.start("probe pod", "client-2", "probe", "200", cluster.v4("web-1"), PORT)
        self.start("probe nodeport", "out", "probe", "200", out, NODE_PORT)
        self.start("open service", "client-1", "open", "200", VIP4, PORT)
        # Rare: each of these holds one of 4,536 masquerade ports for two minutes.
        self.start("open nodeport", "out", "open", "10", out, NODE_PORT)
        self.start("forbid pod", "stranger-1", "forbid", "200", cluster.v4("api-1"), PORT)
        self.start("forbid pod same node", "client-2", "forbid", "200", cluster.v4("api-1"), PORT)

    def start(self, name, place, *arguments):
        # Outside the pods' cgroups: the packet path itself translates, and so has state to lose.
        self.running[name] = self.cluster.lab.start(name.replace(" ", "-"), [self.program, *arguments], ns=place, piped=True)

    def end(self):
        found = {}
        senders_first = sorted(self.running, key=lambda name: name.startswith("serve"))
        for group in ([n for n in senders_first if not n.startswith("serve")], [n for n in senders_first if n.startswith("serve")]):
            for name in group:
                self.running[name].send_signal(signal.SIGTERM)
            for name in group:
                line = self.running[name].communicate(timeout=20)[0].strip().split("\n")[-1]
                found[name] = json.loads(line) if line.startswith("{") else {"broke": line or "no answer"}
        return found


def cycle(cluster, rng, number):
    """One node's agent goes and comes; returns what was done."""
    node = rng.choice(list(NODES))
    steps = [node, cluster.runs[node]]
    how = rng.choice([signal.SIGTERM, signal.SIGKILL])
    cluster.lab.stop(cluster.agents[node], how=how)
    steps.append("stopped" if how == signal.SIGTERM else "killed")
    for _ in range(rng.choice([0, 0, 1, 2])):  # begun and killed, with either build
        cluster.runs[node] = rng.choice(["this", "next"])
        cluster.start_agent(node)
        after = rng.uniform(0.02, 1.2)
        time.sleep(after)
        cluster.lab.stop(cluster.agents[node], how=signal.SIGKILL)
        steps.append(f"{cluster.runs[node]} killed after {after * 1000:.0f} ms")
    cluster.runs[node] = rng.choice(["this", "next"])
    begun = time.monotonic()
    cluster.start_agent(node)
    cluster.wait_agent(node)
    steps.append(f"{cluster.runs[node]} in sync after {(time.monotonic() - begun) * 1000:.0f} ms")
    return f"{number:3}  " + ", ".join(steps)


def judge(found):
    """The lines of the report, and whether all is well."""
    lines, good = [], True
    for name, seen in found.items():
        bad = {key: seen.get(key) for key in ("lost", "errors", "resets", "resent", "stalled", "unanswered", "forbidden", "broken", "broke")
               if seen.get(key)}
        if name.startswith("serve api") and (seen.get("accepted") or seen.get("datagrams")):
            bad["forbidden"] = f"{seen['accepted']} connections, {seen['datagrams']} datagrams"
        if not any(seen.get(key) for key in ("sent", "asked", "accepted", "datagrams")) and name != "serve api-1":
            bad["idle"] = "nothing was sent at all"
        good = good and not bad
        lines.append(f"  {'FAIL' if bad else 'ok  '}  {name:<22} {json.dumps(seen)}")
    return lines, good


def pins_left(cluster, node):
    """Each node's bpf folder holds one set and no gate once an agent is in sync."""
    sets = f"{cluster.folder}/bpf/{node}/sets"
    names = os.listdir(sets)
    return [] if len(names) == 1 and sorted(os.listdir(f"{sets}/{names[0]}")) == ["programs", "tables"] else names


def said(cluster):
    """From the agents' logs: how often a layout took over, and what should not have been said."""
    took_over, complaints = 0, []
    for node in NODES:
        with open(f"{cluster.folder}/log/thalwegd-{node}", errors="replace") as log:
            for line in log:
                took_over += "took over from another layout" in line
                if "level=warn" in line or "level=error" in line:
                    complaints.append(line.strip())
    return took_over, complaints


def main():
    flags = argparse.ArgumentParser(prog="survival", description=__doc__)
    root = f"{os.path.dirname(os.path.abspath(__file__))}/../../build"
    flags.add_argument("--build", default=root, help="the build folder (default: build)")
    flags.add_argument("--cycles", type=int, default=50)
    flags.add_argument("--connections", type=int, default=1000)
    flags.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    flags.add_argument("--prefix", default="twtsurv")
    options = flags.parse_args()
    if os.geteuid() != 0 or not cgroup2_root():
        print("SKIP: needs root and a cgroup2 mount")
        return 77
    rng = random.Random(options.seed)
    print(f"seed {options.seed}", flush=True)
    cluster = SurvivalCluster(f"{options.build}/bin", options.prefix, next_agent=f"{options.build}/tests/thalwegd_next")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        cluster.up()
        time.sleep(1)
        traffic = Traffic(cluster, f"{options.build}/tests/traffic", options.connections)
        for number in range(options.cycles):
            print(cycle(cluster, rng, number + 1), flush=True)
        found = traffic.end()
        lines, good = judge(found)
        for node in NODES:
            left = pins_left(cluster, node)
            if left:
                lines.append(f"  FAIL  pins of {node}: {left}")
                good = False
        for node in NODES:
            drops = {one["reason"]: one["packets"] for one in (cluster.status(node) or {}).get("drops", [])}
            lines.append(f"        drops on {node} since its tables were made: {json.dumps(drops)}")
        print("\n".join(lines))
        took_over, complaints = said(cluster)
        print(f"  {took_over} times one layout took over from the other; {len(complaints)} warnings")
        if complaints:
            print("  FAIL  " + "\n        ".join(complaints[:10]))
            good = False
        if not good:
            show_logs(cluster)
        return 0 if good else 1
    except LabError as error:
        print(f"survival: {error}", file=sys.stderr)
        show_logs(cluster)
        return 1
    finally:
        cluster.down()


if __name__ == "__main__":
    sys.exit(main())
