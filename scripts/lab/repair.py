"""Two nodes whose kernel state is damaged, under a running agent and under a dead one: all of it must come back. Nodes
that come, move and go, an underlay that carries less than it did: routes and MTUs must follow at once. Run by CTest for the
tunnel and for direct routes."""

import json
import os
import re
import signal
import sys
import time

from cluster import NODES, OUTSIDE, OUTSIDE6, BareCluster
from host import ip
from objects import node as node_object
from trial import Checks, flags, run


class Repair(Checks):
    def __init__(self, cluster, overlay):
        super().__init__(cluster)
        self.overlay, self.n1 = overlay, cluster.lab.name("n1")

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
        return self.c.metric(node, f'thalweg_host_repaired_total{{what="{what}"}}')

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
        self.underlay_changes(link)
        self.a_peer_moves()
        self.nodes_change()
        if self.overlay == "vxlan":
            self.only_ipv6()
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
        for pinned in ("from_pod", "to_pod", "from_uplink", "to_uplink"):  # unpinned, a link lets go
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

    # ---- the underlay's MTU

    def sent(self, place, address, size):
        """One packet of so many bytes that must not be cut; arrived, or the MTU that was told, or 0."""
        overhead = 48 if ":" in address else 28
        done = self.c.lab.call(["ping", "-n", "-c", "1", "-W", "0.2", "-M", "do", "-s", str(size - overhead), address], ns=place)
        told = re.search(r"mtu ?[=:] ?(\d+)", done.stdout + done.stderr)
        return "arrived" if done.returncode == 0 else int(told.group(1)) if told else 0

    def largest_is(self, place, pods, size):
        """So much arrives at each of the pods, and one byte more is refused with that figure. The first packet may be the one by
        which the way is learned."""
        return all(self.sent(place, address, size) == "arrived" and size in [self.sent(place, address, size + 1) for _ in range(2)]
                   for pod in pods for address in (self.c.v4(pod), self.c.v6(pod)))

    def mtus(self, link):
        """What n1's pod link says at both its ends, and the host's leg."""
        def of(name, ns):
            return json.loads(ip("-j", "link", "show", name, ns=ns).stdout)[0]["mtu"]
        return {of(link, self.n1), of("eth0", self.c.lab.name("web-1")), of("thalweg_host", self.n1)}

    def underlay_changes(self, link):
        direct = self.overlay == "auto"
        ip("link", "set", "eth0", "mtu", "1400", ns=self.n1)
        self.soon("the uplink carries 1400: pods and the host's leg 1350", lambda: self.mtus(link) == {1350}, lambda: self.mtus(link))
        self.soon("… a full packet still arrives, one more byte is refused at once",
                  lambda: self.largest_is("client-1", ["web-1", "web-2"], 1350))
        ip("link", "set", "eth0", "mtu", "1500", ns=self.n1)
        self.soon("… 1500 again: all as before", lambda: self.mtus(link) == {1450}, lambda: self.mtus(link))
        self.soon("… and a full packet arrives", lambda: self.largest_is("client-1", ["web-1", "web-2"], 1450))

        peer = NODES["n2"][0]
        ip("route", "add", peer, "dev", "eth0", "mtu", "1350", ns=self.n1)
        to_peer = 1350 if direct else 1300
        self.soon(f"a route to one peer carries 1350: its pods get {to_peer}, told so, the others all",
                  lambda: self.v4_largest_is("client-1", "web-2", to_peer) and self.v4_largest_is("client-1", "web-1", 1450))
        self.soon("… the host knows it, too", lambda: self.v4_largest_is("n1", "web-2", to_peer))
        ip("route", "del", peer, "dev", "eth0", ns=self.n1)
        # Asked by a pod that has not been told: what a pod was told, its own kernel believes for ten minutes.
        self.soon("… no more: the table forgets it", lambda: self.mtus_of_routes() == {0}, self.mtus_of_routes)
        self.soon("… and all is as before",
                  lambda: self.v4_largest_is("stranger-1", "web-2", 1450) and self.v4_largest_is("n1", "web-2", 1450))
        if not direct:
            self.a_router_says()

    def v4_largest_is(self, place, pod, size):
        address = self.c.v4(pod)
        return self.sent(place, address, size) == "arrived" and size in [self.sent(place, address, size + 1) for _ in range(2)]

    def a_router_says(self):
        """The way to n2 leads over a router whose next link carries less: only its ICMP errors tell."""
        out, peer = self.c.lab.name("out"), NODES["n2"][0]
        for key in ("net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0", "net.ipv4.conf.eth0.send_redirects=0"):
            self.c.lab.call(["sysctl", "-qw", key], ns="out")
        ip("route", "add", peer, "dev", "eth0", "mtu", "1350", ns=out)
        ip("route", "add", peer, "via", OUTSIDE, "dev", "eth0", ns=self.n1)
        self.soon("a router carries 1350: n1 learns it, and pods are told 1300", lambda: self.v4_largest_is("web-1", "web-2", 1300),
                  lambda: [self.sent("web-1", self.c.v4("web-2"), size) for size in (1300, 1301, 1450)])
        ip("route", "del", peer, "dev", "eth0", ns=self.n1)
        ip("route", "del", peer, "dev", "eth0", ns=out)

    # ---- nodes

    def a_peer_moves(self):
        """n2 gets another address under a flow that goes on."""
        moved, n2 = "192.0.2.22", self.c.lab.name("n2")
        flow = self.c.lab.start("flow", ["ping", "-n", "-i", "0.1", "-c", "60", self.c.v4("web-2")], ns="client-1", piped=True)
        time.sleep(1)
        self.c.lab.call(["sysctl", "-qw", "net.ipv4.conf.eth0.promote_secondaries=1"], ns="n2")
        ip("addr", "add", f"{moved}/24", "dev", "eth0", ns=n2)
        ip("addr", "del", f"{NODES['n2'][0]}/24", "dev", "eth0", ns=n2)
        self.c.edit("00-nodes.yaml", lambda text: text.replace(NODES["n2"][0], moved))
        self.soon("n2 has another address: nothing of the old one is left on n1", lambda: not self.has_row(NODES["n2"][0]), self.rows)
        self.soon("… every pod is reached", self.reaches_all, within_s=10)
        said = flow.communicate(timeout=15)[0]
        answered = int(re.search(r"(\d+) received", said).group(1))
        self.say(f"… a flow between pods goes on: {answered} of 60 answered", answered >= 50, said[-300:])

    def nodes_change(self):
        def put(address, cidr):
            self.c.put("node-n3.yaml", node_object("n3", [address], cidr))

        def leads(cidr):
            lines = [line for line in self.state() if line.startswith(cidr)]
            return lines[0] if lines else ""

        def seen(cidr, address):
            via = f"via {address} dev eth0" if self.overlay == "auto" else "dev thalweg_host"
            return via in leads(cidr) and self.has_row(address)

        put("192.0.2.13", "10.244.3.0/24")
        self.soon("a node comes", lambda: seen("10.244.3.0/24", "192.0.2.13"), self.state)
        put("192.0.2.14", "10.244.3.0/24")
        self.soon("… changes its address", lambda: seen("10.244.3.0/24", "192.0.2.14") and not self.has_row("192.0.2.13"),
                  self.state)
        put("192.0.2.14", "10.244.4.0/24")
        self.soon("… changes its podCIDR", lambda: seen("10.244.4.0/24", "192.0.2.14") and not leads("10.244.3.0/24"), self.state)
        os.unlink(f"{self.c.manifests}/node-n3.yaml")
        self.soon("… goes: no route, no row of it is left", lambda: not leads("10.244.4.0/24") and not self.has_row("192.0.2.14"),
                  self.state)

    def only_ipv6(self):
        """Nodes whose InternalIPs are IPv6 alone: the tunnel's header is IPv6, too."""
        without_ipv4 = re.compile(r".*InternalIP, address: [0-9.]+}.*\n")
        self.c.edit("00-nodes.yaml", lambda text: without_ipv4.sub("", text))
        self.soon("nodes without IPv4: n1 sends by tunnel to 2001:db8::12",
                  lambda: "2001:db8::12" in self.c.thalweg("n1", "why", "demo/client-1", "demo/web-2", "8080/tcp").stdout,
                  lambda: self.c.thalweg("n1", "why", "demo/client-1", "demo/web-2", "8080/tcp").stdout)
        self.soon("… pods reach pods in both families", lambda: all(
            self.pings(place, address) for place, pod in (("client-1", "web-2"), ("client-2", "web-1"))
            for address in (self.c.v4(pod), self.c.v6(pod))))
        self.soon("… a pod's MTU has room for the longer header", lambda: self.largest_is("stranger-1", ["web-2"], 1430))
        for address in (self.c.v4("web-2"), self.c.v6("web-2")):
            self.say(f"… 20 MB arrive, from {address}", self.transfer("client-1", "web-2", address, 20_000_000))
        self.a_router_says_in_ipv6()

    def a_router_says_in_ipv6(self):
        """As a_router_says; n1 hears it of packets whose outer header is IPv6."""
        out, peer = self.c.lab.name("out"), NODES["n2"][1]
        self.c.lab.call(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"], ns="out")
        ip("route", "add", peer, "dev", "eth0", "mtu", "lock", "1400", ns=out)  # a router heeds no other mtu of its routes
        ip("route", "add", peer, "via", OUTSIDE6, "dev", "eth0", ns=self.n1)
        self.soon("… a router carries 1400: n1 learns it, and pods are told 1330", lambda: self.largest_is("stranger-1", ["web-2"], 1330),
                  lambda: [self.sent("stranger-1", self.c.v4("web-2"), size) for size in (1330, 1331, 1430)])
        ip("route", "del", peer, "via", OUTSIDE6, "dev", "eth0", ns=self.n1)
        ip("route", "del", peer, "dev", "eth0", ns=out)

    def transfer(self, place, server, address, size):
        """In segments as large as the kernel makes them."""
        family, port = ("socket.AF_INET6", 9006) if ":" in address else ("socket.AF_INET", 9004)
        make = f"import socket; s = socket.socket({family}); "
        running = self.c.lab.start("sender", ["python3", "-c", make + f"s.bind(('', {port})); s.listen(); print('ready', flush=True); "
                                              f"s.accept()[0].sendall(bytes({size}))"], ns=server, piped=True)
        running.stdout.readline()
        got = self.c.lab.call(["python3", "-c", make + f"s.settimeout(3); s.connect(('{address}', {port})); n = 0\n"
                               "while True:\n  data = s.recv(1 << 20)\n  n += len(data)\n  if not data: break\nprint(n)"], ns=place)
        self.c.lab.stop(running)
        return got.stdout.strip() == str(size)

    def mtus_of_routes(self):
        """The last member of struct route."""
        return {int.from_bytes(bytes.fromhex(value)[-2:], "little") for _, value in self.c.table("n1", "routes")}

    def rows(self):
        return json.dumps(self.c.table("n1", "routes"))

    def has_row(self, address):
        return bytes(int(part) for part in address.split(".")).hex() in self.rows()


def main():
    parser = flags("repair", __doc__, "twtrep")
    parser.add_argument("--overlay", default="vxlan", choices=("vxlan", "auto"))
    options = parser.parse_args()
    cluster = BareCluster(options.bin, options.prefix, ("--overlay", options.overlay))
    return run("repair", options, cluster, lambda cluster: Repair(cluster, options.overlay).all())


if __name__ == "__main__":
    sys.exit(main())
