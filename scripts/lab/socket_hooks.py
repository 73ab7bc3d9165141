"""The socket hooks, from real sockets: processes of a node (as hostNetwork pods are) and of pods ask services, over IPv4 and
IPv6, TCP and UDP. Who answers, what connect() fails with, what getpeername() and recvfrom() say, and what becomes of
sockets whose backend goes. Run by CTest.

  socket_hooks.py --serve NAME    what stands in each pod: says its name over TCP and UDP
  socket_hooks.py --client        takes one call a line (JSON) and answers each: a process with sockets of its own"""

import errno
import json
import socket
import sys
import threading
import time

from cluster import NODES, PODS, BareCluster
from host import LabError, wait_for
from objects import BOTH, service, slices
from trial import Checks, flags, run

PORT = 5001  # where the pods serve; services are at 80
BACKENDS = ("web-1", "web-2")
SERVICES = {name: (f"10.96.1.{number}", f"fd00:10:96::a{number}") for number, name in
            enumerate(("plain", "sticky", "local", "empty", "ranged", "moving"), 1)}
BALANCER = ("203.0.113.95", "2001:db8:ffff::95")
CLOSED_WITHIN_S = 1  # the change is a file here, read when it has been quiet for 50 ms


# ---- in the pods, and as a client


def serve_udp(name):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::", PORT))
        while True:
            server.sendto(name.encode(), server.recvfrom(100)[1])


def serve(name):
    threading.Thread(target=serve_udp, args=(name,), daemon=True).start()
    with socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100) as server:
        while True:
            connection = server.accept()[0]
            with connection:
                connection.sendall(name.encode())


class Client:
    """Its methods are the calls."""

    def __init__(self):
        self.sockets = {}

    def open(self, name, protocol, family):
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        self.sockets[name] = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, kind)
        self.sockets[name].settimeout(1.5)

    def connect(self, name, host, port):
        self.sockets[name].connect((host, port))

    def ask(self, name):
        one = self.sockets[name]
        if one.type == socket.SOCK_DGRAM:
            one.send(b"?")
        return one.recv(100).decode()

    def ask_to(self, name, host, port):
        self.sockets[name].sendto(b"?", (host, port))
        said, peer = self.sockets[name].recvfrom(100)
        return [said.decode(), *peer[:2]]

    def await_error(self, name, timeout):
        """The error that comes to a socket that waits; how long it took."""
        self.sockets[name].settimeout(timeout)
        self.sockets[name].recv(100)

    def peer(self, name):
        return list(self.sockets[name].getpeername()[:2])

    def who_answers(self, protocol, family, host, port, times):
        """A socket for each question."""
        seen = {}
        for _ in range(times):
            self.open("once", protocol, family)
            self.connect("once", host, port)
            who = self.ask("once")
            self.sockets["once"].close()
            seen[who] = seen.get(who, 0) + 1
        return seen

    def run(self):
        for line in sys.stdin:
            call, *arguments = json.loads(line)
            begun = time.monotonic()
            try:
                answer = {"value": getattr(self, call)(*arguments)}
            except TimeoutError:
                answer = {"error": "no answer"}
            except OSError as error:
                answer = {"error": errno.errorcode.get(error.errno, str(error))}
            print(json.dumps({**answer, "at": time.monotonic(), "seconds": time.monotonic() - begun}), flush=True)


# ---- the lab


class Process:
    """A client that runs in a pod or on a node."""

    def __init__(self, cluster, place, hooked=True):
        node = PODS.get(place, place)
        self.process = cluster.lab.start(f"client-{place}", [sys.executable, __file__, "--client"], ns=place, piped=True,
                                         cgroup=cluster.cgroup(node, place if place in PODS else "system") if hooked else None)

    def __call__(self, *call):
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise LabError(f"the client ended at {call}")
        return json.loads(line)

    def result(self, *call):
        """The value, or the error's name."""
        answer = self(*call)
        return answer.get("error", answer.get("value"))


class SocketHooks(Checks):
    def row(self, what, expected, seen):
        self.say(what, expected(seen) if callable(expected) else seen == expected, f"saw {seen}")

    def all(self):
        self.put_all()
        self.processes = {place: Process(self.c, place) for place in (*NODES, "client-1", "client-2")}
        wait_for("the services", lambda: self.asked("n1", "tcp", 4, SERVICES["moving"][0], times=16) == set(BACKENDS)
                 and self.asked("n2", "tcp", 6, BALANCER[1]) == "EHOSTUNREACH")
        for family, version in enumerate((4, 6)):
            for part in (self.answers, self.told_back, self.unconnected, self.affinity, self.refusals, self.ranges):
                part(family, version)
        self.dual_stack_socket()
        for family, version in enumerate((4, 6)):
            self.backend_goes(family, version)
        return self.good

    # ---- objects

    def put_all(self):
        sticky = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}}
        ranges = [f"{NODES['n1'][0]}/32", f"{NODES['n1'][1]}/128", f"{self.c.v4('client-1')}/32", f"{self.c.v6('client-1')}/128"]
        balanced = {"type": "LoadBalancer", "loadBalancerSourceRanges": ranges}
        self.put("plain", {}, BACKENDS)
        self.put("sticky", sticky, BACKENDS)
        self.put("local", {"internalTrafficPolicy": "Local"}, ["web-2"])
        self.put("empty", {}, [])
        self.put("ranged", balanced, BACKENDS, BALANCER)
        self.put("moving", {}, BACKENDS)

    def put(self, name, spec, pods, statuses=()):
        self.c.put(f"hooks-{name}.yaml", service(name, SERVICES[name], 80, PORT, BOTH, statuses, **spec),
                   *slices(name, self.c, pods, PORT, BOTH))

    # ---- questions

    def asked(self, place, protocol, version, host, port=80, times=1):
        """Who answers, as a set when asked several times; or the error."""
        seen = self.processes[place].result("who_answers", protocol, version, host, port, times)
        return seen if isinstance(seen, str) else set(seen) if times > 1 else next(iter(seen))

    def answers(self, family, version):
        for place in self.processes:
            for protocol in ("tcp", "udp"):
                self.row(f"IPv{version}: {place} asks by {protocol}, either answers", set(BACKENDS),
                         self.asked(place, protocol, version, SERVICES["plain"][family], times=24))

    def told_back(self, family, version):
        """getpeername() says what the process asked for, whatever the kernel's own peer is."""
        host, address = SERVICES["plain"][family], (self.c.v4, self.c.v6)[family]
        for place, process in self.processes.items():
            for protocol in ("tcp", "udp"):
                process("open", "one", protocol, version)
                process("connect", "one", host, 80)
                self.row(f"IPv{version}: {place}, getpeername() of {protocol}", [host, 80], process.result("peer", "one"))
                by_hook = protocol == "tcp" or place in NODES
                self.row(f"IPv{version}: {place}, the kernel's own peer of {protocol} is {'a backend' if by_hook else 'the service'}",
                         lambda seen, of={address(pod) for pod in BACKENDS} if by_hook else {host}: seen in of,
                         self.kernels_peer(place, protocol, version))

    def kernels_peer(self, place, protocol, version):
        done = self.c.lab.call(["ss", "-Hnp", f"-{version}", "--tcp" if protocol == "tcp" else "--udp", "state", "all"], ns=place)
        for line in done.stdout.splitlines():
            if f"pid={self.processes[place].process.pid}," in line:
                return line.split()[-2].rsplit(":", 1)[0].strip("[]")
        return done.stdout + done.stderr

    def unconnected(self, family, version):
        """sendto() without connect(): the answers come from the service, all of one socket's from one backend."""
        host = SERVICES["plain"][family]
        for place, process in self.processes.items():
            seen = set()
            for _ in range(20):
                process("open", "one", "udp", version)
                heard = [process.result("ask_to", "one", host, 80) for _ in range(5)]
                seen.add(str(heard[0]) if all(one == heard[0] for one in heard) else str(heard))
            self.row(f"IPv{version}: {place}, sendto(): each socket has one backend, heard from the service's address",
                     {str([pod, host, 80]) for pod in BACKENDS}, seen)

    def affinity(self, family, version):
        for place in self.processes:
            for protocol in ("tcp", "udp"):
                self.row(f"IPv{version}: {place}, ClientIP affinity, {protocol}", lambda seen: len(seen) == 1 and seen < set(BACKENDS),
                         self.asked(place, protocol, version, SERVICES["sticky"][family], times=24))

    def refusals(self, family, version):
        empty, local, plain = (SERVICES[name][family] for name in ("empty", "local", "plain"))
        for place in self.processes:
            for protocol in ("tcp", "udp"):
                self.row(f"IPv{version}: {place}, no endpoints, {protocol}", "ECONNREFUSED", self.asked(place, protocol, version, empty))
                self.row(f"IPv{version}: {place}, no such port, {protocol}", "ECONNREFUSED", self.asked(place, protocol, version, plain, 81))
                silence = "no answer" if protocol == "udp" else "EHOSTUNREACH"
                self.row(f"IPv{version}: {place}, policy Local, {protocol}", "web-2" if PODS.get(place, place) == "n2" else silence,
                         self.asked(place, protocol, version, local))
        for place in NODES:
            process = self.processes[place]
            process("open", "one", "udp", version)
            self.row(f"IPv{version}: {place}, sendto() without endpoints", "ECONNREFUSED", process.result("ask_to", "one", empty, 80))

    def ranges(self, family, version):
        """loadBalancerSourceRanges lets n1 and client-1 in. A process learns it at once where its own address is known."""
        for place, expected in (("n1", set(BACKENDS)), ("client-1", set(BACKENDS)), ("n2", "EHOSTUNREACH"), ("client-2", "no answer")):
            self.row(f"IPv{version}: {place}, source ranges", expected, self.asked(place, "tcp", version, BALANCER[family], times=12))

    def dual_stack_socket(self):
        """An IPv6 socket that speaks IPv4."""
        process, host = self.processes["n1"], f"::ffff:{SERVICES['plain'][0]}"
        for protocol in ("tcp", "udp"):
            process("open", "one", protocol, 6)
            process("connect", "one", host, 80)
            self.row(f"v4-mapped {protocol}: answered", lambda seen: seen in BACKENDS, process.result("ask", "one"))
            self.row(f"v4-mapped {protocol}: getpeername()", [host, 80], process.result("peer", "one"))
        process("open", "one", "udp", 6)
        self.row("v4-mapped sendto(): from the service's address", lambda seen: seen[0] in BACKENDS and seen[1:] == [host, 80],
                 process.result("ask_to", "one", host, 80))

    # ---- a backend goes

    def backend_goes(self, family, version):
        """Of a node's UDP sockets those connected to it through the service are closed, unconnected ones move; the others, and
        who speaks to the pod directly, notice nothing."""
        process, host = self.processes["n1"], SERVICES["moving"][family]
        gone = (self.c.v4, self.c.v6)[family]("web-2")
        sockets = {"web-1": [], "web-2": []}
        for number in range(64):
            if all(len(names) >= 3 for names in sockets.values()):
                break
            process("open", f"c{number}", "udp", version)
            process("connect", f"c{number}", host, 80)
            sockets[process.result("ask", f"c{number}")].append(f"c{number}")
        loose = self.unconnected_to("web-2", process, host, version)
        process("open", "direct", "udp", version)
        process("connect", "direct", gone, PORT)
        before = self.closed("n1")
        begun = time.monotonic()
        self.put("moving", {}, ["web-1"])
        first = process("await_error", sockets["web-2"][0], CLOSED_WITHIN_S + 1)
        took = first["at"] - begun
        self.row(f"IPv{version}: a connected socket is closed ({took * 1000:.0f} ms after the file changed)",
                 lambda seen: seen == "ECONNABORTED" and took < CLOSED_WITHIN_S, first.get("error"))
        for name in sockets["web-2"][1:]:
            self.row(f"IPv{version}: and so is another", "ECONNABORTED", process.result("await_error", name, CLOSED_WITHIN_S))
        self.row(f"IPv{version}: the agent counts them", len(sockets["web-2"]), self.closed("n1") - before)
        process("connect", sockets["web-2"][0], host, 80)
        self.row(f"IPv{version}: connected again it has the other backend", "web-1", process.result("ask", sockets["web-2"][0]))
        self.row(f"IPv{version}: an unconnected socket goes on at the other backend", ["web-1", host, 80],
                 process.result("ask_to", loose, host, 80))
        for name in sockets["web-1"]:
            self.row(f"IPv{version}: a socket of the other backend is as before", "web-1", process.result("ask", name))
        self.row(f"IPv{version}: who asks the pod itself is not touched", "web-2", process.result("ask", "direct"))
        self.put("moving", {}, BACKENDS)
        wait_for("both backends again", lambda: self.asked("n1", "udp", version, host, times=16) == set(BACKENDS))

    def unconnected_to(self, backend, process, host, version):
        for number in range(64):
            process("open", f"u{number}", "udp", version)
            if process.result("ask_to", f"u{number}", host, 80)[0] == backend:
                return f"u{number}"
        raise LabError(f"64 sockets, and none has {backend}")

    def closed(self, node):
        return self.c.metric(node, "thalweg_sockets_closed_total")


class HookCluster(BareCluster):
    def start_servers(self):
        for pod in BACKENDS:
            self.lab.start(f"server-{pod}", [sys.executable, __file__, "--serve", pod], ns=pod)


def main():
    parser = flags("socket_hooks", __doc__, "twtsoc")
    parser.add_argument("--serve")
    parser.add_argument("--client", action="store_true")
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    if options.client:
        return Client().run()
    return run("socket_hooks", options, HookCluster(options.bin, options.prefix), lambda cluster: SocketHooks(cluster).all())


if __name__ == "__main__":
    sys.exit(main())
