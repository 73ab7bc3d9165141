"""Two nodes whose kernel state is damaged, under a running agent and under a dead one: all of it must come back. And
nodes that come, move and go: their routes must follow at once. Run by CTest for the tunnel and for direct routes."""

import argparse
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cluster import NODES, Cluster, write  # noqa: E402
from demo import paint, show_logs  # noqa: E402
from host import LabError, cgroup2_root, ip, wait_for  # noqa: E402

SOON_S = 3  # far below --verify-ms: what is put right by then, the monitor has seen


class RepairCluster(Cluster):
    """The demo's nodes and pods, no servers around them."""

    def start_servers(self):
        pass

    def wait_servers(self):
        pass


class Checks:
    def __init__(self, cluster, overlay):
        self.c, self.overlay, self.good = cluster, overlay, True
        self.n1 = cluster.lab.name("n1")

    def say(self, what, good, seen=""):
        self.good = self.good and bool(good)
        print(f"  {paint(bool(good))}  {what}{'' if good else ': ' + ' '.join(str(seen).split())}", flush=True)

    def soon(self, what, true, seen=lambda: "", within_s=SOON_S):
        try:
            begun = time.monotonic()
            wait_for(what, true, timeout_s=within_s)
            self.say(f"{what} ({(time.monotonic() - begun) * 1000:.0f} ms)", True)
        except LabError:
            self.say(what, False, seen())

    # ---- what is looked at

    def pings(self, place, address):
        return self.c.lab.call(["ping", "-n", "-c", "1", "-W", "1", address], ns=place).returncode == 0

    def reaches_all(self):
        """From a pod and from the host, to a pod here and to one on the other node, in both families."""
        return all(self.pings(place, address) for place in ("client-1", "n1", "client-2")
                   for pod in ("web-1", "web-2") for address in (self.c.v4(pod), self.c.v6(pod)))

    def state(self, node="n1"):
        """Our routes, permanent neighbours and hooks of a node."""
        ns = self.c.lab.name(node)
        lines = []
        for family in ("-4", "-6"):
            lines += ip(family, "route", "show", "proto", "116", ns=ns).stdout.splitlines()
            lines += ip(family, "neigh", "show", "nud", "permanent", ns=ns).stdout.splitlines()
        links = f"{self.c.folder}/bpf/{node}/links"
        lines += [f"{program} {where}" for program in os.listdir(links) for where in os.listdir(f"{links}/{program}")]
        # Of a route to a link that lost its carrier for a moment the kernel goes on saying "linkdown" for a moment.
        return sorted(" ".join(line.replace("linkdown", "").split()) for line in lines)

    def repaired(self, what, node="n1"):
        metrics = self.c.lab.call(["curl", "-sS", "--unix-socket", f"{self.c.run_dir(node)}/agent.sock", "http://agent/metrics"])
        for line in metrics.stdout.splitlines():
            if line.startswith(f'thalweg_host_repaired_total{{what="{what}"}}'):
                return float(line.split()[-1])
        return 0

    def pod_link(self, pod):
        return next(one["link"] for one in self.c.status("n1")["pods"] if one["pod"] == f"demo/{pod}")

    # ---- the checks

    def all(self):
        self.soon("every pod is reached from pods and hosts", self.reaches_all, within_s=10)
        self.ways()
        before = self.state()
        link = self.pod_link("web-1")
        self.while_it_runs(before, link)
        self.while_it_is_dead(before, link)
        self.nodes_change()
        return self.good

    def ways(self):
        way = "directly to the node 192.0.2.12" if self.overlay == "auto" else "192.0.2.12"
        why = self.c.thalweg("n1", "why", "demo/client-1", "demo/web-2", "8080/tcp").stdout
        self.say(f"n1 sends to pods of n2 {'directly' if self.overlay == 'auto' else 'by tunnel'}",
                 way in why and ("directly" in why) == (self.overlay == "auto"), why)
        leads = "via 192.0.2.12 dev eth0" if self.overlay == "auto" else "via 169.254.1.1 dev thalweg_host"
        route = ip("route", "get", self.c.v4("web-2"), ns=self.n1).stdout
        self.say(f"the host's packets go {leads}", leads in route, route)
        full = self.c.lab.call(["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", str(1450 - 28), self.c.v4("web-2")],
                               ns="client-1")
        self.say("a full packet passes whole between pods", full.returncode == 0, full.stdout)
        for size, passes in ((1450, True), (1451, False)):  # the uplink alone would carry 1500, and the pod refuse it
            sent = self.c.lab.call(["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", str(size - 28), self.c.v4("web-2")], ns="n1")
            self.say(f"the host's packet of {size} bytes {'arrives' if passes else 'is refused at once'}",
                     (sent.returncode == 0) == passes, sent.stdout)

    def damages(self, link):
        n1, pod = self.n1, self.c.v4("web-1")
        cidr = next(line.split()[0] for line in ip("route", "show", "proto", "116", ns=n1).stdout.splitlines()
                    if line.startswith("10.244.") and "/" in line.split()[0])
        return [
            ("route", "a route to another node's pods is deleted", ("route", "del", cidr)),
            ("route", "… is pointed elsewhere", ("route", "replace", cidr, "via", "192.0.2.100", "proto", "116")),
            ("route", "… in IPv6 is deleted", ("-6", "route", "flush", "proto", "116")),
            ("route", "a pod's route is deleted", ("route", "del", pod)),
            ("route", "a route of ours that leads nowhere", ("route", "add", "10.244.77.0/24", "via", "192.0.2.100", "proto", "116")),
            ("neighbour", "a pod's neighbour is deleted", ("neigh", "del", pod, "dev", link)),
            ("neighbour", "… has another MAC", ("neigh", "replace", pod, "lladdr", "02:00:00:00:00:99", "dev", link, "nud", "permanent")),
            ("neighbour", "the leg's gateway has another MAC",
             ("neigh", "replace", "169.254.1.1", "lladdr", "02:00:00:00:00:99", "dev", "thalweg_host", "nud", "permanent")),
            ("neighbour", "a stale neighbour", ("neigh", "add", "10.244.1.99", "lladdr", "02:00:00:00:00:98", "dev", link, "nud", "permanent")),
            ("link", "a pod's link is down", ("link", "set", link, "down")),
            ("link", "a pod's link has another MTU", ("link", "set", link, "mtu", "1000")),
            ("link", "the leg is deleted", ("link", "del", "thalweg_host")),
        ]

    def while_it_runs(self, before, link):
        for what, said, command in self.damages(link):
            counted = self.repaired(what)
            ip(*command, ns=self.n1)
            self.soon(f"running: {said}", lambda: self.state() == before and self.repaired(what) > counted,
                      lambda: f"{set(before) ^ set(self.state())} repaired {counted} → {self.repaired(what)}")
        self.soon("running: every pod is reached again", self.reaches_all)

    def while_it_is_dead(self, before, link):
        self.c.lab.stop(self.c.agents["n1"], how=signal.SIGKILL)
        for _, said, command in self.damages(link):
            if "deleted" not in said or "leg" in said:
                ip(*command, ns=self.n1)
        for pinned in ("from_pod", "to_pod", "from_uplink"):  # unpinned, a link lets go
            folder = f"{self.c.folder}/bpf/n1/links/{pinned}"
            for name in os.listdir(folder):
                os.unlink(f"{folder}/{name}")
        pod = self.c.lab.name("web-1")
        ip("route", "flush", "default", ns=pod)
        ip("neigh", "flush", "all", "nud", "permanent", ns=pod)
        ip("addr", "flush", "dev", "eth0", "scope", "global", ns=pod)
        self.say("dead: the damage is real", not self.pings("client-1", self.c.v4("web-1")))
        self.c.start_agent("n1")
        self.c.wait_agent("n1")
        self.soon("dead: started again, all is as before", lambda: self.state() == before,
                  lambda: set(before) ^ set(self.state()))
        self.soon("dead: every pod is reached again", self.reaches_all, within_s=10)

    def nodes_change(self):
        path = f"{self.c.manifests}/node-n3.yaml"

        def put(address, cidr):
            write(path, f"apiVersion: v1\nkind: Node\nmetadata: {{name: n3}}\nspec: {{podCIDR: {cidr}, podCIDRs: [{cidr}]}}\n"
                        f"status: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n")

        def leads(cidr):
            lines = [line for line in self.state() if line.startswith(cidr)]
            return lines[0] if lines else ""

        def seen(cidr, address):
            via = f"via {address} dev eth0" if self.overlay == "auto" else "dev thalweg_host"
            hex_address = bytes(int(part) for part in address.split(".")).hex()
            return via in leads(cidr) and hex_address in self.rows()

        put("192.0.2.13", "10.244.3.0/24")
        self.soon("a node comes", lambda: seen("10.244.3.0/24", "192.0.2.13"), self.state)
        put("192.0.2.14", "10.244.3.0/24")
        self.soon("… changes its address", lambda: seen("10.244.3.0/24", "192.0.2.14") and "c000020d" not in self.rows(), self.state)
        put("192.0.2.14", "10.244.4.0/24")
        self.soon("… changes its podCIDR", lambda: seen("10.244.4.0/24", "192.0.2.14") and not leads("10.244.3.0/24"), self.state)
        os.unlink(path)
        self.soon("… goes: no route, no row of it is left", lambda: not leads("10.244.4.0/24") and "c000020e" not in self.rows(),
                  self.state)

    def rows(self):
        """The table of routes, as hex."""
        tables = self.c.lab.call(["curl", "-sS", "--unix-socket", f"{self.c.run_dir('n1')}/agent.sock", "http://agent/v1/tables"])
        return json.dumps(json.loads(tables.stdout)["tables"]["routes"])


def main():
    flags = argparse.ArgumentParser(prog="repair", description=__doc__)
    flags.add_argument("--bin", default=f"{os.path.dirname(os.path.abspath(__file__))}/../../build/bin")
    flags.add_argument("--overlay", default="vxlan", choices=("vxlan", "auto"))
    flags.add_argument("--prefix", default="twtrep")
    options = flags.parse_args()
    if os.geteuid() != 0 or not cgroup2_root():
        print("SKIP: needs root and a cgroup2 mount")
        return 77
    cluster = RepairCluster(options.bin, options.prefix)
    cluster.agent_flags = ["--overlay", options.overlay]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        cluster.up()
        good = Checks(cluster, options.overlay).all()
        if not good:
            show_logs(cluster)
        return 0 if good else 1
    except LabError as error:
        print(f"repair: {error}", file=sys.stderr)
        show_logs(cluster)
        return 1
    finally:
        cluster.down()


if __name__ == "__main__":
    sys.exit(main())
