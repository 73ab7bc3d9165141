"""Services whose endpoints are hostNetwork pods: the node itself answers. Asked from outside, from pods (through the
socket hooks and, past them, by packets) and from host processes; TCP and UDP, IPv4 and IPv6, backend here and on the
other node. The answer must come from the address and port that were asked. Run by CTest for the tunnel and for direct
routes.

  host_backend.py --serve NAME PORT           what stands on each node: says its name, who asked, and as many bytes as asked
  host_backend.py --ask tcp|udp HOST PORT BYTES SOURCE_PORT    one question, as a client"""

import signal
import socket
import sys
import threading

from cluster import NODES, OUTSIDE, OUTSIDE6, Cluster
from host import ip, wait_for
from objects import BOTH, host_pod, service
from trial import Checks, flags, run

PORT, SHUT = 7080, 7099
HERE, THERE, LOCAL, CLOSED = 30081, 30082, 30083, 30084  # node ports
BALANCERS = {HERE: ("203.0.113.91", "2001:db8:ffff::91"), THERE: ("203.0.113.92", "2001:db8:ffff::92")}


# ---- the program on the nodes, and its client


def greeting(name, peer):
    return f"{name} {peer[0].removeprefix('::ffff:')} {peer[1]}\n".encode()


def serve_udp(name, port):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", port))
        while True:
            asked, peer = server.recvfrom(2048)
            server.sendto(greeting(name, peer) + b"x" * int(asked), peer)


def serve_one(name, connection, peer):
    with connection, connection.makefile("rb") as lines:
        for line in lines:
            connection.sendall(greeting(name, peer) + b"x" * int(line))


def serve(name, port):
    threading.Thread(target=serve_udp, args=(name, port), daemon=True).start()
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        while True:
            threading.Thread(target=serve_one, args=(name, *server.accept()), daemon=True).start()


def ask(protocol, host, port, count, source_port):
    """Prints what came back, its bytes counted, or why nothing did."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.settimeout(2)
        client.bind(("", source_port))
        try:
            client.connect((host, port))  # connected: an answer from anywhere else is none
            client.sendall(f"{count}\n".encode())
            said = b""
            while b"\n" not in said or len(said) < said.index(b"\n") + 1 + count:
                got = client.recv(65536)
                if not got:
                    raise ConnectionError("closed early")
                said += got
            first, rest = said.split(b"\n", 1)
            print(first.decode(), len(rest))
        except OSError as error:
            print(f"no answer: {type(error).__name__}")


# ---- the lab


class HostCluster(Cluster):
    """The demo's nodes and pods; what serves is on the nodes themselves."""

    def copy_inputs(self):
        super().copy_inputs()
        on_host, on_n1, on_n2 = {"app": "on-host"}, {"app": "on-host", "node": "n1"}, {"app": "on-host", "node": "n2"}
        services = (("here", on_n1, HERE, "Cluster", PORT), ("there", on_n2, THERE, "Cluster", PORT),
                    ("local", on_host, LOCAL, "Local", PORT), ("shut", on_n1, CLOSED, "Cluster", SHUT))
        for number, (name, selector, node_port, policy, target) in enumerate(services, 0xb0):
            self.put(f"host-{name}.yaml", service(
                f"host-{name}", (f"10.96.0.{number}", f"fd00:10:96::{number:x}"), 80, target, BOTH, BALANCERS.get(node_port, ()),
                node_port, type="LoadBalancer", selector=selector, externalTrafficPolicy=policy))
        for node, addresses in NODES.items():
            self.put(f"pods/host-{node}.yaml", host_pod(f"host-{node}", node, addresses, {"app": "on-host", "node": node}))

    def start_servers(self):
        for node in NODES:
            self.lab.start(f"server-{node}", [sys.executable, __file__, "--serve", node, str(PORT)], ns=node,
                           cgroup=self.cgroup(node))
        for balancers in BALANCERS.values():
            for balancer, node in zip(balancers, NODES["n1"]):
                ip("route", "add", balancer, "via", node, ns=self.lab.name("out"))

    def wait_servers(self):
        for node in NODES:
            wait_for(f"the server on {node}", lambda node=node: self.ask(node, "tcp", "127.0.0.1", PORT).startswith(node))

    def ask(self, place, protocol, host, port, count=5, source_port=0, hooked=True):
        """hooked: the client is in a cgroup of the node's, as pods and host processes are."""
        command = [sys.executable, __file__, "--ask", protocol, host, str(port), str(count), str(source_port)]
        done = self.call(place, command) if hooked else self.lab.call(command, ns=place)
        return done.stdout.strip() or done.stderr.strip()


class HostBackend(Checks):
    def __init__(self, cluster, return_mode):
        super().__init__(cluster)
        self.return_mode = return_mode

    def row(self, what, expected, seen):
        words = expected.split()
        self.say(what, seen.split()[: len(words)] == words, f"expected {expected}, saw {seen}")

    def both(self, what, place, host, port, expected, **options):
        """expected: the name of who answers, and whom it takes for the client."""
        for protocol in ("tcp", "udp"):
            self.row(f"{what}, {protocol} {host} {port}", expected, self.c.ask(place, protocol, host, port, **options))

    def all(self):
        for part in (self.outside, self.large, self.shut, self.direct_beside, self.pods, self.hosts, self.flows_stay):
            part()
        return self.good

    def outside(self):
        for n1, n2, out in ((*(NODES[node][0] for node in NODES), OUTSIDE), (*(NODES[node][1] for node in NODES), OUTSIDE6)):
            self.both("from outside, backend here", "out", n1, HERE, f"n1 {out}")
            self.both("from outside, backend there", "out", n1, THERE, f"n2 {n1}")
            self.both("from outside, by the other node", "out", n2, HERE, f"n1 {n2}")
            self.both("Local, first node", "out", n1, LOCAL, f"n1 {out}")
            self.both("Local, second node", "out", n2, LOCAL, f"n2 {out}")
        for here, there, out, n1 in zip(BALANCERS[HERE], BALANCERS[THERE], (OUTSIDE, OUTSIDE6), NODES["n1"]):
            self.both("a load balancer's address, backend here", "out", here, 80, f"n1 {out}")
            client = out if self.return_mode == "dsr" else n1
            self.both("a load balancer's address, backend there", "out", there, 80, f"n2 {client}")

    def large(self):
        """Segments the device cuts, and datagrams in fragments."""
        n1 = NODES["n1"][0]
        for protocol, count in (("tcp", 3_000_000), ("udp", 9000)):
            for port, expected in ((HERE, f"n1 {OUTSIDE}"), (THERE, f"n2 {n1}")):
                seen = self.c.ask("out", protocol, n1, port, count).split()
                self.row(f"{count} bytes, {protocol} {port}", f"{expected} {count}", " ".join([*seen[:2], *seen[3:]]))

    def shut(self):
        """No one listens: the node's own refusal has to look as if the service's."""
        self.both("a port no one listens on", "out", NODES["n1"][0], CLOSED, "no answer: ConnectionRefusedError")

    def direct_beside(self):
        """The host's own traffic is its own, also from the port a service was just asked from."""
        for n1, out in ((NODES["n1"][0], OUTSIDE), (NODES["n1"][1], OUTSIDE6)):
            for port, source_port in ((PORT, 41000), (HERE, 41001), (PORT, 41001), (HERE, 41002)):
                self.row(f"tcp {n1} {port} from port {source_port}", f"n1 {out} {source_port} 5",
                         self.c.ask("out", "tcp", n1, port, source_port=source_port))
        self.row("udp to the node itself", f"n1 {OUTSIDE}", self.c.ask("out", "udp", NODES["n1"][0], PORT))

    def pods(self):
        for place, own in (("client-1", "n1"), ("client-2", "n2")):
            for v, version in (("v4", 0), ("v6", 1)):
                address = getattr(self.c, v)(place)
                for hooked in (True, False):
                    how = f"{place}, {'socket hooks' if hooked else 'packets'}"
                    for number, port, server in ((0xb0, HERE, "n1"), (0xb1, THERE, "n2")):
                        service = f"fd00:10:96::{number:x}" if version else f"10.96.0.{number}"
                        self.both(f"{how}: ClusterIP", place, service, 80, f"{server} {address}", hooked=hooked)
                        self.both(f"{how}: NodePort here", place, NODES[own][version], port, f"{server} {address}", hooked=hooked)

    def hosts(self):
        for place, (v4, v6) in NODES.items():
            for own, (n1, n2) in ((v4, [NODES[node][0] for node in NODES]), (v6, [NODES[node][1] for node in NODES])):
                self.both(f"host {place}", place, n1, HERE, f"n1 {own}")
                if place == "n1":  # a node's own processes are inside, and Local is for the outside
                    self.both(f"host {place}", place, n2, LOCAL, f"n2 {own}")
            other = NODES["n2" if place == "n1" else "n1"]
            for address in other:  # pods behind the other node's port, some of them on this one
                seen = {self.c.curl(place, f"http://[{address}]:30080/" if ":" in address else f"http://{address}:30080/").stdout.split(" ")[0]
                        for _ in range(16)}
                self.row(f"host {place}: pods by {address}", "web-1 web-2", " ".join(sorted(seen)))
            for number, server in ((0xb0, "n1"), (0xb1, "n2")):
                self.both(f"host {place}: ClusterIP", place, f"10.96.0.{number}", 80, f"{server} {v4}")
                for service, own in ((f"10.96.0.{number}", v4), (f"fd00:10:96::{number:x}", v6)):
                    # What it asks of itself comes in the service's name, so that the answer leads back to the path.
                    client = service if server == place else own
                    self.both(f"host {place}, packets: ClusterIP", place, service, 80, f"{server} {client}", hooked=False)
                if server == place:
                    seen = self.c.ask(place, "tcp", f"10.96.0.{number}", 80, 3_000_000, hooked=False).split()
                    self.row(f"host {place}, packets: 3 MB of itself", f"{server} 3000000", " ".join([*seen[:1], *seen[-1:]]))

    def flows_stay(self):
        """A connection lives on under a dead agent, and under the next one's programs."""
        n1 = NODES["n1"][0]
        self.c.lab.stop(self.c.agents["n1"], how=signal.SIGKILL)
        self.both("agent dead", "out", n1, HERE, f"n1 {OUTSIDE}")
        self.c.start_agent("n1")
        self.c.wait_agent("n1")
        self.both("agent back", "out", n1, HERE, f"n1 {OUTSIDE}")


def main():
    parser = flags("host_backend", __doc__, "twthb")
    parser.add_argument("--overlay", default="vxlan", choices=("vxlan", "auto"))
    parser.add_argument("--return-mode", default="snat", choices=("snat", "dsr"))
    parser.add_argument("--serve", nargs=2)
    parser.add_argument("--ask", nargs=5)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve[0], int(options.serve[1]))
    if options.ask:
        protocol, host, *numbers = options.ask
        return ask(protocol, host, *(int(number) for number in numbers))
    cluster = HostCluster(options.bin, options.prefix, ("--overlay", options.overlay, "--return-mode", options.return_mode))
    return run("host_backend", options, cluster, lambda cluster: HostBackend(cluster, options.return_mode).all())


if __name__ == "__main__":
    sys.exit(main())
