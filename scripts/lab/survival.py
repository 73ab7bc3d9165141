"""Live traffic through two nodes while their agents are stopped, killed, upgraded to a build with another table layout
and downgraded again. Nothing may be lost, reset, or let in that is forbidden. CTest runs it; scripts/test --soak longer.

Each cycle ends one node's agent (politely, or by SIGKILL), often starts one of the two builds and kills that at a random
moment, and starts one for good: a restart, a crash, an upgrade or a downgrade, in turn. Traffic (tests/survival/traffic.cc)
runs through it all. Before that, the same traffic meets damage made on purpose, and has to notice."""

import collections
import json
import os
import random
import signal
import sys
import time

from cluster import NODES, BareCluster
from host import LabError, ip, wait_for
from objects import BOTH, host_pod, service
from trial import Checks, flags, run

PORT, NODE_PORT, HOST_PORT = 7000, 30700, 30701
VIP4, VIP6, HOST_VIP = "10.96.0.70", "fd00:10:96::70", "10.96.0.71"
SERVERS = ("web-1", "web-2", "api-1", "n1")


class SurvivalCluster(BareCluster):
    """The demo's nodes and pods with agents of either build, and what the traffic goes through."""

    def __init__(self, binaries, prefix):
        super().__init__(binaries, prefix, ("--xdp", "native"))
        tests = f"{os.path.dirname(binaries)}/tests"
        self.builds = {"this": f"{binaries}/thalwegd", "next": f"{tests}/thalwegd_next"}
        self.traffic = f"{tests}/traffic"
        self.runs = {node: "this" for node in NODES}

    def make_underlay(self):
        super().make_underlay()
        for node in NODES:
            self.take_xdp(node)
        self.finish_checksums("out")

    def start_servers(self):
        self.put("traffic.yaml",
                 service("traffic", (VIP4, VIP6), PORT, PORT, BOTH, node_port=NODE_PORT, type="NodePort", selector={"app": "web"}),
                 service("host", [HOST_VIP], PORT, PORT, BOTH, node_port=HOST_PORT, type="NodePort", selector={"app": "host"}),
                 host_pod("host", "n1", NODES["n1"][:1], {"app": "host"}))
        ip("route", "add", f"{self.v4('api-1')}/32", "via", NODES["n2"][0], ns=self.lab.name("out"))

    def start_agent(self, node):
        self.binary = self.builds[self.runs[node]]
        super().start_agent(node)

    def agent_binary(self):
        return self.binary


class Traffic:
    """Every sender and server; what they found when they were ended."""

    def __init__(self, cluster, connections):
        self.cluster, self.running = cluster, {}
        for pod in SERVERS:
            self.start(f"serve {pod}", pod, "serve", PORT)
        time.sleep(0.3)
        n = [connections * tenths // 10 for tenths in (4, 3, 2, 1)]
        out = NODES["n1"][0]
        self.start("hold service", "client-1", "hold", n[0], VIP4, PORT)
        self.start("hold pod", "client-2", "hold", n[1], cluster.v6("web-1"), PORT)
        self.start("hold nodeport", "out", "hold", n[2], out, NODE_PORT)
        self.start("hold host", "out", "hold", n[3], out, HOST_PORT)
        for name in ("hold service", "hold pod", "hold nodeport", "hold host"):
            line = self.running[name].stdout.readline()
            if line.strip() != "ready":
                raise LabError(f"{name}: {line.strip() or 'did not connect'}")
        self.start("bulk service", "client-1", "bulk", 4, VIP6, PORT)
        self.start("bulk pod", "client-2", "bulk", 2, cluster.v4("web-1"), PORT)
        self.start("probe service", "client-1", "probe", 200, VIP4, PORT)
        self.start("probe service v6", "client-2", "probe", 200, VIP6, PORT)
        self.start("probe pod", "client-2", "probe", 200, cluster.v4("web-1"), PORT)
        self.start("probe nodeport", "out", "probe", 200, out, NODE_PORT)
        self.start("probe host", "out", "probe", 200, out, HOST_PORT)
        self.start("open service", "client-1", "open", 200, VIP4, PORT)
        # Rare: each of these holds one of 4,536 masquerade ports for two minutes.
        self.start("open nodeport", "out", "open", 10, out, NODE_PORT)
        self.start("connect service", "client-1", "connect", 50, VIP4, PORT)
        self.start("connect pod", "client-2", "connect", 50, cluster.v6("web-1"), PORT)
        api4, api6 = cluster.v4("api-1"), cluster.v6("api-1")
        self.start("forbid pod", "stranger-1", "forbid", 200, api4, PORT)
        self.start("forbid pod same node", "client-2", "forbid", 200, api4, PORT)
        self.start("forbid pod v6", "client-1", "forbid", 200, api6, PORT)
        self.start("forbid outside", "out", "forbid", 200, api4, PORT)
        self.start("forbid spoofed", "stranger-1", "forbid", 200, cluster.v4("web-2"), PORT, cluster.v4("client-1"))

    def start(self, name, place, *arguments):
        # Outside the pods' cgroups: the packet path itself translates, and so has state to lose.
        self.running[name] = self.cluster.lab.start(name.replace(" ", "-"), [self.cluster.traffic, *map(str, arguments)],
                                                    ns=place, piped=True)

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


def unnoticed(cluster):
    """The traffic, and everything it is there to notice, made on purpose; what it did not notice."""
    traffic = Traffic(cluster, 10)
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
    bad = {name: wrong for name, seen in found.items() if (wrong := judge(name, seen))}
    asked = {"hold pod": "resets", "bulk pod": "resent", "probe pod": "lost", "open service": "lost", "connect pod": "lost",
             "serve api-1": "forbidden"}
    missed = [f"{name}: {what}" for name, what in asked.items() if what not in bad.get(name, {})]
    return missed + ([] if spoofed else ["forbid spoofed: no packet came to the path"])


def dropped(cluster, node, reason, seconds):
    """Packets dropped for a reason in so many seconds."""
    before = cluster.drops(node).get(reason, 0)
    time.sleep(seconds)
    return cluster.drops(node).get(reason, 0) - before


def judge(name, seen):
    """What is wrong with what one of the traffic's programs found."""
    bad = {key: seen.get(key) for key in ("lost", "errors", "resets", "resent", "stalled", "unanswered", "forbidden", "broken", "broke")
           if seen.get(key)}
    if name.startswith("serve api") and (seen.get("accepted") or seen.get("datagrams")):
        bad["forbidden"] = f"{seen['accepted']} connections, {seen['datagrams']} datagrams"
    if not any(seen.get(key) for key in ("sent", "asked", "accepted", "datagrams")) and name != "serve api-1":
        bad["idle"] = "nothing was sent at all"
    return bad


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
                if line.split(" ", 2)[1:2] in (["warning"], ["error"]):
                    complaints.append(line.strip())
    return took_over, complaints


class Survival(Checks):
    def all(self, options):
        rng = random.Random(options.seed)
        print(f"seed {options.seed}", flush=True)
        missed = unnoticed(self.c)
        self.say("damage made on purpose is noticed", not missed, f"not by {', '.join(missed)}")
        traffic = Traffic(self.c, options.connections)
        kinds = collections.Counter()
        for number in range(options.cycles):
            kind, done = cycle(self.c, rng, number)
            kinds[kind] += 1
            print(done, flush=True)
        self.after(traffic)
        print("  " + ", ".join(f"{count} × {kind}" for kind, count in kinds.items()))
        return self.good

    def after(self, traffic):
        for name, seen in traffic.end().items():
            self.say(f"{name:<22} {json.dumps(seen)}", not judge(name, seen), judge(name, seen))
        for node in NODES:
            self.say(f"one set of pins on {node}, no gate", not pins_left(self.c, node), pins_left(self.c, node))
            print(f"        drops on {node} since its tables were made: {json.dumps(self.c.drops(node))}")
        by_xdp = self.c.status("n1")["byXdp"]["packets"]  # the node the outside asks
        self.say(f"{by_xdp} packets sent on by XDP", by_xdp > 0)
        took_over, complaints = said(self.c)
        self.say(f"{took_over} times one layout took over from the other, without a warning", not complaints, " | ".join(complaints[:10]))


def main():
    parser = flags("survival", __doc__, "twtsurv")
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options = parser.parse_args()
    return run("survival", options, SurvivalCluster(options.bin, options.prefix), lambda cluster: Survival(cluster).all(options))


if __name__ == "__main__":
    sys.exit(main())
