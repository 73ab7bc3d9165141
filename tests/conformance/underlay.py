#!/usr/bin/env python3
"""What docs/decisions/0004 says of direct routes beside the tunnel, held against real agents: an underlay that carries only
nodes' addresses, strict reverse-path filters, nodes whose flags differ, and who is believed to be a pod of another node.

              far ── out (a router) ── lan ── n1, n2 (cluster.py)       far: a host of another segment, that forges

Run by CTest for the tunnel and for direct routes."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/lab"))

from cluster import NODES, OUTSIDE, BareCluster  # noqa: E402
from host import LabError, ip, run as run_command, wait_for  # noqa: E402
from objects import service, slices  # noqa: E402
from trial import Checks, flags, run  # noqa: E402
from wire import IPV4, UDP, eth, ip as ip_packet, udp, vxlan  # noqa: E402

FAR, FAR_GATEWAY, NODE_PORT, PORT, TUNNEL_PORT = "198.51.100.130", "198.51.100.129", 30095, 5005, 4789
ONLY_NODES = f"""table bridge switch {{
  chain ports {{
    type filter hook forward priority 0;
    ether type ip ip saddr != {{ {", ".join([OUTSIDE, *(v4 for v4, _ in NODES.values())])} }} counter drop
  }}
}}
"""

LISTEN = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", int(sys.argv[1])))
while True:
    print(s.recvfrom(2048)[0].decode(), flush=True)
"""

SAY = """
import socket, sys
source, host, port, payload = sys.argv[1:]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((source, 0))
s.sendto(bytes.fromhex(payload), (host, int(port)))
"""


class Underlay(Checks):
    def __init__(self, cluster, overlay):
        super().__init__(cluster)
        self.overlay, self.direct = overlay, overlay != "vxlan"

    def all(self):
        self.c.lab.start("listen", ["python3", "-c", LISTEN, str(PORT)], ns="web-1")
        self.c.put("open.yaml", service("open", ["10.96.0.95"], PORT, PORT, ("UDP",), node_port=NODE_PORT, type="NodePort",
                                        externalTrafficPolicy="Local"),
                   *slices("open", self.c, ["web-1"], PORT, ("UDP",), families=("IPv4",)))
        self.soon("pods of both nodes reach each other", self.pods_reach, within_s=10)
        self.only_nodes_addresses()
        self.strict_reverse_path()
        self.flags_differ()
        self.forged_elsewhere()
        return self.good

    def pings(self, place, address):
        return self.c.lab.call(["ping", "-n", "-c", "1", "-W", "0.5", address], ns=place).returncode == 0

    def pods_reach(self):
        return self.pings("client-1", self.c.v4("web-2")) and self.pings("client-2", self.c.v4("web-1"))

    def again(self, node, overlay):
        """Another run of its agent."""
        self.c.lab.stop(self.c.agents[node])
        self.c.agent_flags = ["--overlay", overlay]
        self.c.start_agent(node)
        self.c.wait_agent(node)
        self.c.agent_flags = ["--overlay", self.overlay]

    # ---- the checks

    def only_nodes_addresses(self):
        """A cloud's source check, a switch's port security: nobody is told."""
        switch = ["nsenter", f"--net=/run/netns/{self.c.lab.name('lan')}", "nft"]
        run_command(*switch, "-f", "-", stdin=ONLY_NODES)
        done = self.c.lab.call(["ping", "-n", "-c", "2", "-i", "0.2", "-W", "0.5", self.c.v4("web-2")], ns="client-1")
        counted = "counter packets 0 " not in run_command(*switch, "list", "ruleset").stdout
        arrived, told = done.returncode == 0, "rror" in done.stdout
        self.say(f"an underlay of nodes' addresses only {'swallows direct packets in silence' if self.direct else 'carries the tunnel'}",
                 (arrived, told, counted) == (not self.direct, False, self.direct), f"{arrived} {told} {counted} {done.stdout}")
        run_command(*switch, "delete", "table", "bridge", "switch")
        self.soon("… without that they reach each other", self.pods_reach)

    def strict_reverse_path(self):
        for node in NODES:
            for link in ("all", "eth0"):
                self.c.lab.call(["sysctl", "-qw", f"net.ipv4.conf.{link}.rp_filter=1"], ns=node)
            self.again(node, self.overlay)
        self.soon("strict reverse-path filters on both nodes: pods reach pods", self.pods_reach)
        self.soon("… and a node the other's pods", lambda: self.pings("n1", self.c.v4("web-2")))
        self.soon("… and a pod the other node", lambda: self.pings("web-2", NODES["n1"][0]))

    def flags_differ(self):
        """What one sends directly the other wants by tunnel, and the reverse: dropped, and counted."""
        def dropped():
            return sum(self.c.drops(node).get("UNKNOWN_TUNNEL_PEER", 0) for node in NODES)
        before = dropped()
        self.again("n2", "vxlan" if self.direct else "auto")
        self.say("nodes whose flags differ do not believe each other's pods", not self.pods_reach())
        self.soon("… and count what they drop", lambda: dropped() > before)
        self.again("n2", self.overlay)
        self.soon("… until they agree again", self.pods_reach)

    def forged_elsewhere(self):
        """A host behind a router with a strict reverse-path filter. It knows the node port, as anyone may."""
        self.make_far()
        said = {name: self.arrives(name, source, payload, port) for name, source, payload, port in (
            ("in its own name", FAR, None, NODE_PORT),
            ("as a pod of n2", self.c.v4("web-2"), None, NODE_PORT),
            ("as n2, in a tunnel header", NODES["n2"][0], self.tunnelled, TUNNEL_PORT))}
        self.same("another segment's host is heard at the node port", True, said["in its own name"])
        self.same("… as a pod of n2 it is " + ("heard, too: the router knows no pods, and n1 asks for no MAC" if self.direct else "not heard"),
                  self.direct, said["as a pod of n2"])
        self.same("… as n2, in a tunnel header, it is not: the router knows where n2 is", False, said["as n2, in a tunnel header"])

    def make_far(self):
        name, out = self.c.lab.add_namespace("far"), self.c.lab.name("out")
        ip("link", "add", "far", "netns", out, "type", "veth", "peer", "name", "eth0", "netns", name)
        for ns, link, address in ((out, "far", FAR_GATEWAY), (name, "eth0", FAR)):
            ip("addr", "add", f"{address}/30", "dev", link, ns=ns)
            ip("link", "set", link, "up", ns=ns)
        ip("route", "add", "default", "via", FAR_GATEWAY, ns=name)
        ip("route", "add", "default", "via", FAR, ns=out)  # the world; pods are nowhere else for all it knows
        for key in ("ip_forward=1", "conf.all.rp_filter=1", "conf.far.rp_filter=1", "conf.eth0.rp_filter=1"):
            self.c.lab.call(["sysctl", "-qw", f"net.ipv4.{key}"], ns="out")
        for address in (self.c.v4("web-2"), NODES["n2"][0]):
            ip("addr", "add", f"{address}/32", "dev", "lo", ns=name)

    def tunnelled(self, token):
        inner = ip_packet(self.c.v4("web-2"), self.c.v4("web-1"), UDP,
                          udp(self.c.v4("web-2"), self.c.v4("web-1"), token, to_port=PORT))
        return vxlan(1, eth("02:54:57:00:00:02", "02:54:57:00:00:01", IPV4, inner))

    def arrives(self, token, source, payload, port):
        token = token.encode()
        for _ in range(3):
            self.c.lab.call(["python3", "-c", SAY, source, NODES["n1"][0], str(port), (payload(token) if payload else token).hex()], ns="far")
        try:
            return wait_for(token, lambda: token in open(f"{self.c.folder}/log/listen", "rb").read(), timeout_s=1)
        except LabError:
            return False


def main():
    parser = flags("underlay", __doc__, "twtund")
    parser.add_argument("--overlay", default="vxlan", choices=("vxlan", "auto"))
    options = parser.parse_args()
    cluster = BareCluster(options.bin, options.prefix, ("--overlay", options.overlay))
    return run("underlay", options, cluster, lambda cluster: Underlay(cluster, options.overlay).all())


if __name__ == "__main__":
    sys.exit(main())
