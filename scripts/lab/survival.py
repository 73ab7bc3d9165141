"""Live traffic through two nodes while their agents are stopped, killed, upgraded to a build with another table layout
and downgraded again. Nothing may be lost, reset, or let in that is forbidden. CTest runs it; scripts/test --soak longer.

Each cycle ends one node's agent (politely, or by SIGKILL), often starts one of the two builds and kills that at a random
moment, and starts one for good: a restart, a crash, an upgrade or a downgrade, in turn. Traffic (tests/survival/traffic.cc)
runs through it all. Before that, the same traffic meets damage made on purpose, and has to notice."""

import argparse
import collections
import json
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cluster import NODES, Cluster, write  # noqa: E402
from demo import show_logs  # noqa: E402
from host import LabError, cgroup2_root, ip, wait_for  # noqa: E402

PORT, NODE_PORT, VIP4, VIP6 = "7000", "30700", "10.96.0.70", "fd00:10:96::70"
HOST_PORT = "30701"
SERVERS = ("web-1", "web-2", "api-1", "n1")
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
---
apiVersion: v1
kind: Service
metadata: {{name: host, namespace: demo}}
spec:
  type: NodePort
  selector: {{app: host}}
  clusterIP: 10.96.0.71
  clusterIPs: [10.96.0.71]
  ipFamilies: [IPv4]
  ports:
  - {{name: tcp, protocol: TCP, port: {PORT}, targetPort: {PORT}, nodePort: {HOST_PORT}}}
  - {{name: udp, protocol: UDP, port: {PORT}, targetPort: {PORT}, nodePort: {HOST_PORT}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: host, namespace: demo, labels: {{app: host}}}}
spec: {{nodeName: n1, hostNetwork: true, containers: [{{name: main, image: none}}]}}
status: {{phase: Running, podIPs: [{{ip: {NODES["n1"][0]}}}]}}
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
        n = [str(connections * tenths // 10) for tenths in (4, 3, 2, 1)]
        out = NODES["n1"][0]
        self.start("hold service", "client-1", "hold", n[0], VIP4, PORT)
        self.start("hold pod", "client-2", "hold", n[1], cluster.v6("web-1"), PORT)
        self.start("hold nodeport", "out", "hold", n[2], out, NODE_PORT)
        self.start("hold host", "out", "hold", n[3], out, HOST_PORT)
        for name in ("hold service", "hold pod", "hold nodeport", "hold host"):
            line = self.running[name].stdout.readline()
            if line.strip() != "ready":
                raise LabError(f"{name}: {line.strip() or 'did not connect'}")
        self.start("bulk service", "client-1", "bulk", "4", VIP6, PORT)
        self.start("bulk pod", "client-2", "bulk", "2", cluster.v4("web-1"), PORT)
        self.start("probe service", "client-1", "probe", "200", VIP4, PORT)
        self.start("probe service v6", "client-2", "probe", "200", VIP6, PORT)
        self.start("probe pod", "client-2", "probe", "200", cluster.v4("web-1"), PORT)
        self.start("probe nodeport", "out", "probe", "200", out, NODE_PORT)
        self.start("probe host", "out", "probe", "200", out, HOST_PORT)
        self.start("open service", "client-1", "open", "200", VIP4, PORT)
        # Rare: each of these holds one of 4,536 masquerade ports for two minutes.
        self.start("open nodeport", "out", "open", "10", out, NODE_PORT)
        self.start("connect service", "client-1", "connect", "50", VIP4, PORT)
        self.start("connect pod", "client-2", "connect", "50", cluster.v6("web-1"), PORT)
        api4, api6 = cluster.v4("api-1"), cluster.v6("api-1")
        self.start("forbid pod", "stranger-1", "forbid", "200", api4, PORT)
        self.start("forbid pod same node", "client-2", "forbid", "200", api4, PORT)
        self.start("forbid pod v6", "client-1", "forbid", "200", api6, PORT)
        self.start("forbid outside", "out", "forbid", "200", api4, PORT)
        self.start("forbid spoofed", "stranger-1", "forbid", "200", cluster.v4("web-2"), PORT, cluster.v4("client-1"))

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


KINDS = ("restart", "crash", "upgrade", "downgrade")


def node_for(cluster, kind, rng):
    """Upgrades need a node that runs this build, downgrades one that runs the next."""
    needed = {"upgrade": "this", "downgrade": "next"}.get(kind)
    nodes = [node for node in NODES if needed in (None, cluster.runs[node])]
    return rng.choice(nodes) if nodes else None


def cycle(cluster, rng, number):
    """One node's agent goes and comes; returns of what kind it was, and what was done."""
    kind = KINDS[number % len(KINDS)]
    node = node_for(cluster, kind, rng)
    before = cluster.runs[node]
    how = {"restart": signal.SIGTERM, "crash": signal.SIGKILL}.get(kind) or rng.choice([signal.SIGTERM, signal.SIGKILL])
    cluster.lab.stop(cluster.agents[node], how=how)
    steps = [f"{kind} of {node}", f"{before} {'stopped' if how == signal.SIGTERM else 'killed'}"]
    for _ in range(rng.choice([0, 0, 1, 2])):  # begun and killed, with either build
        cluster.runs[node] = rng.choice(["this", "next"])
        cluster.start_agent(node)
        after = rng.uniform(0.02, 1.2)
        time.sleep(after)
        cluster.lab.stop(cluster.agents[node], how=signal.SIGKILL)
        steps.append(f"{cluster.runs[node]} killed after {after * 1000:.0f} ms")
    cluster.runs[node] = {"upgrade": "next", "downgrade": "this"}.get(kind, before)
    begun = time.monotonic()
    cluster.start_agent(node)
    cluster.wait_agent(node)
    steps.append(f"{cluster.runs[node]} in sync after {(time.monotonic() - begun) * 1000:.0f} ms")
    return kind, f"{number + 1:3}  " + ", ".join(steps)


def damage(cluster, program):
    """The traffic, and everything it is there to notice, made on purpose; what it did not notice."""
    traffic = Traffic(cluster, program, 10)
    policy = f"{cluster.manifests}/policies/api.yaml"
    os.rename(policy, f"{cluster.folder}/api.yaml")
    wait_for("what was forbidden to come through", lambda: dropped(cluster, "n2", "POLICY_INGRESS", 0.3) == 0)
    os.rename(f"{cluster.folder}/api.yaml", policy)
    ip("link", "set", "p-n2", "down", ns=cluster.lab.name("lan"))
    time.sleep(1.3)
    ip("link", "set", "p-n2", "up", ns=cluster.lab.name("lan"))
    time.sleep(0.5)
    spoofed = dropped(cluster, "n1", "SPOOFED_SOURCE", 0.1)
    wait_for("the policy to be back", lambda: dropped(cluster, "n2", "POLICY_INGRESS", 0.1) > 0)
    web = traffic.running.pop("serve web-1")
    cluster.lab.stop(web, how=signal.SIGKILL)
    found = traffic.end()
    _, good, bad = judge(found)
    asked = {"hold pod": "resets", "bulk pod": "resent", "probe pod": "lost", "open service": "lost", "connect pod": "lost",
             "serve api-1": "forbidden"}
    missed = [f"{name}: {what}" for name, what in asked.items() if what not in bad.get(name, {})]
    return missed + ([] if spoofed else ["forbid spoofed: no packet came to the path"])


def dropped(cluster, node, reason, seconds):
    """Packets dropped for a reason in so many seconds."""
    def now():
        return sum(one["packets"] for one in (cluster.status(node) or {}).get("drops", []) if one["reason"] == reason)
    before = now()
    time.sleep(seconds)
    return now() - before


def judge(found):
    """The lines of the report, whether all is well, and what is not."""
    lines, all_bad = [], {}
    for name, seen in found.items():
        bad = {key: seen.get(key) for key in ("lost", "errors", "resets", "resent", "stalled", "unanswered", "forbidden", "broken", "broke")
               if seen.get(key)}
        if name.startswith("serve api") and (seen.get("accepted") or seen.get("datagrams")):
            bad["forbidden"] = f"{seen['accepted']} connections, {seen['datagrams']} datagrams"
        if not any(seen.get(key) for key in ("sent", "asked", "accepted", "datagrams")) and name != "serve api-1":
            bad["idle"] = "nothing was sent at all"
        if bad:
            all_bad[name] = bad
        lines.append(f"  {'FAIL' if bad else 'ok  '}  {name:<22} {json.dumps(seen)}")
    return lines, not all_bad, all_bad


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
        program = f"{options.build}/tests/traffic"
        ip("route", "add", f"{cluster.v4('api-1')}/32", "via", NODES["n2"][0], ns=cluster.lab.name("out"))
        missed = damage(cluster, program)
        traffic = Traffic(cluster, program, options.connections)
        kinds = collections.Counter()
        for number in range(options.cycles):
            kind, done = cycle(cluster, rng, number)
            kinds[kind] += 1
            print(done, flush=True)
        lines, good, _ = judge(traffic.end())
        if missed:
            lines.append(f"  FAIL  damage made on purpose was not noticed by {', '.join(missed)}")
            good = False
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
        print("  " + ", ".join(f"{count} × {kind}" for kind, count in kinds.items()))
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
