"""What the demo shows: a row a check, with what was expected and what was seen."""

import hashlib
import os
import signal
import time

from cluster import INGRESS, NODES, VIP, write
from host import wait_for

SPREAD = 24  # requests that must reach both of two backends: missing one by chance has odds of 2^-23


class Row:
    def __init__(self, what, expected, seen, good):  # good: None where the check was skipped
        self.what, self.expected, self.seen, self.good = what, expected, seen, good


class Checks:
    """Runs every check in the order of the issue's list; `rows` holds what came out."""

    def __init__(self, cluster, report=lambda row: None):
        self.c, self.report, self.rows = cluster, report, []

    def all(self):
        for part in (self.pod_to_pod, self.services, self.nobody, self.outside, self.policy, self.policy_changed, self.load_balancer,
                     self.names, self.ingress, self.agent_killed):
            part()
        return all(row.good is not False for row in self.rows)

    # ---- how a check is said ----------------------------------------------------------------------------------

    def row(self, what, expected, seen, good):
        row = Row(what, expected, " ".join(str(seen).split()), bool(good))
        self.rows.append(row)
        self.report(row)

    def skip(self, what, why):
        self.rows.append(Row(what, "", why, None))
        self.report(self.rows[-1])

    def same(self, what, expected, seen):
        self.row(what, expected, seen, seen == expected)

    def has(self, what, expected, seen):
        self.row(what, f"… {expected} …", seen, expected in str(seen))

    def page(self, place, url, *arguments):
        done = self.c.curl(place, url, *arguments)
        return done.stdout.strip() if done.returncode == 0 else f"curl exit {done.returncode}: {done.stderr.strip()}"

    def answers(self, what, place, url, expected, *arguments):
        self.has(what, expected, self.page(place, url, *arguments))

    def refused(self, what, place, url):
        done = self.c.call(place, ["curl", "-sS", "-g", "--max-time", "1.5", url])
        self.row(what, "no answer", done.stdout or f"no answer (curl exit {done.returncode})", done.returncode == 28)

    def spread(self, what, place, url, names=("web-1", "web-2")):
        seen = {}
        for _ in range(SPREAD):
            name = (self.page(place, url) or "nothing").split()[0]
            seen[name] = seen.get(name, 0) + 1
        self.row(what, " and ".join(names), " ".join(f"{name}×{n}" for name, n in sorted(seen.items())),
                 set(seen) == set(names))

    # ---- the checks -------------------------------------------------------------------------------------------

    def pod_to_pod(self):
        c = self.c
        for family, address in (("IPv4", c.v4), ("IPv6", lambda pod: f"[{c.v6(pod)}]")):
            mine = address("client-1").strip("[]")
            self.answers(f"pod → pod, same node, {family}", "client-1", f"http://{address('web-1')}:8080/",
                         f"web-1 / from {mine}")
            self.answers(f"pod → pod, across nodes, {family}", "client-1", f"http://{address('web-2')}:8080/",
                         f"web-2 / from {mine}")
        self.answers("node → pod of another node", "n1", f"http://{c.v4('web-2')}:8080/", "web-2 /")
        self.has("pod → pod, ICMP, across nodes", "3 received",
                 c.call("client-1", ["ping", "-c", "3", "-i", "0.05", "-W", "1", c.v4("web-2")]).stdout)

    def services(self):
        self.spread("ClusterIP from a pod, IPv4", "client-1", "http://10.96.0.80/")
        self.spread("ClusterIP from a pod, IPv6", "client-1", "http://[fd00:10:96::80]/")
        self.spread("ClusterIP from the host", "n1", "http://10.96.0.80/")
        # Without its cgroup a pod's connect() is not seen by the socket hooks: the packet path itself must translate.
        seen = {(self.c.lab.call(["curl", "-sS", "--max-time", "3", "http://10.96.0.80/"], ns="client-1").stdout.split()
                 or ["nothing"])[0] for _ in range(SPREAD)}
        self.same("ClusterIP from a pod, by packets alone", "web-1 web-2", " ".join(sorted(seen)))
        headless = sorted(self.dig("client-1", "web-headless.demo.svc.cluster.local", "A"))
        self.same("headless service names its pods", " ".join(sorted([self.c.v4("web-1"), self.c.v4("web-2")])),
                  " ".join(headless))
        # Which of its pods a client takes first is the resolver's choice (RFC 6724 prefers the nearer prefix).
        self.answers("headless service by name", "client-1", "http://web-headless:8080/", "web-")

    def nobody(self):
        """A service without endpoints: an answer at once, wherever it is asked from."""
        for what, place, url in (("a pod", "client-1", "http://10.96.0.99/"), ("the host", "n1", "http://10.96.0.99/"),
                                 ("outside", "out", f"http://{NODES['n1'][0]}:30099/")):
            done = self.c.curl(place, url)
            self.same(f"a service without endpoints refuses {what}", "curl exit 7", f"curl exit {done.returncode}")
        # Without its cgroup a pod's connect() is not seen by the socket hooks: the answers come from the packet path.
        done = self.c.lab.call(["curl", "-sS", "--max-time", "3", "http://10.96.0.99/"], ns="client-1")
        self.same("… by a reset, to a pod that sent packets", "curl exit 7", f"curl exit {done.returncode}")
        done = self.c.lab.call(["dig", "+tries=1", "+time=2", "@10.96.0.99", "nobody"], ns="client-1")
        self.has("… by ICMP, where it is UDP", "connection refused", done.stdout + done.stderr)

    def outside(self):
        self.large_upload()
        for node, (v4, _) in NODES.items():
            self.spread(f"NodePort of {node} from outside", "out", f"http://{v4}:30080/")
        self.answers("pod → outside, masqueraded", "client-1", "http://198.51.100.1:8080/",
                     f"outside / from {NODES['n1'][0]}")

    def large_upload(self):
        """A client's full-size segments fit no tunnel: it must hear so, through the NodePort, and send smaller ones."""
        data = os.urandom(400_000)
        expected = f"took {len(data)} {hashlib.sha256(data).hexdigest()}"
        for _ in range(SPREAD // 2):
            done = self.c.call("out", ["curl", "-sS", "--max-time", "10", "--data-binary", "@-", "-H", "Expect:",
                                       f"http://{NODES['n1'][0]}:30080/"], stdin=data, text=False)
            seen = (done.stdout or done.stderr).decode()
            if expected not in seen:
                break
        self.has("400 kB from outside through a NodePort, to both nodes", expected, seen)

    def policy(self):
        c = self.c
        target = f"http://{c.v4('api-1')}:8080/"
        self.answers("policy allows client-1 → api-1", "client-1", target, "api-1 /")
        self.answers("policy allows client-2 → api-1 (same node)", "client-2", target, "api-1 /")
        self.refused("policy denies stranger-1 → api-1", "stranger-1", target)
        self.refused("policy denies stranger-1 → the api's ClusterIP", "stranger-1", "http://10.96.0.90/")
        why = c.thalweg("n2", "why", c.v4("stranger-1"), "demo/api-1", "8080/tcp")
        self.row("thalweg why names the policy", "exit 1, … demo/api-from-clients …", f"exit {why.returncode}, {why.stdout}",
                 why.returncode == 1 and "demo/api-from-clients" in why.stdout)
        why = c.thalweg("n2", "why", "demo/client-2", "demo/api-1", "8080/tcp")
        self.row("thalweg why of an allowed flow", "exit 0", f"exit {why.returncode}", why.returncode == 0)

    def policy_changed(self):
        """The policy's file is edited while everything runs; a kept-alive flow must notice too."""
        c, path = self.c, f"{self.c.manifests}/policies/api.yaml"
        with open(path) as file:
            before = file.read()
        target = f"http://{c.v4('api-1')}:8080/"
        write(path, before.replace("role: client", "role: stranger"))
        wait_for("stranger-1 to be allowed", lambda: c.curl("stranger-1", target).returncode == 0)
        self.answers("changed policy allows stranger-1", "stranger-1", target, "api-1 /")
        self.refused("changed policy denies client-1", "client-1", target)
        write(path, before.replace("port: 8080", "port: [8080]"))
        time.sleep(0.5)
        self.answers("a broken policy file changes nothing", "stranger-1", target, "api-1 /")
        with open(f"{c.folder}/log/thalwegd-n2") as log:
            said = [line for line in log if "api.yaml" in line]
        self.row("… and is told in one line with file and field", "… api.yaml … ports[0].port …", " | ".join(said),
                 len(said) == 1 and "ports[0].port" in said[0])
        write(path, before)
        wait_for("client-1 to be allowed again", lambda: c.curl("client-1", target).returncode == 0)
        self.refused("policy restored denies stranger-1", "stranger-1", target)

    def load_balancer(self):
        if not os.path.exists(f"{self.c.binaries}/thalweg-edge"):
            return self.skip("LoadBalancer address through thalweg-edge", "thalweg-edge is not built: DPDK was not found")
        self.spread("LoadBalancer address through thalweg-edge", "out", f"http://{VIP}/")

    def dig(self, place, *query):
        return self.c.call(place, ["dig", "+short", "+time=1", "+tries=3", *query]).stdout.split("\n")[:-1]

    def names(self):
        c = self.c
        self.same("dig: service, A", "10.96.0.80", " ".join(self.dig("client-1", "web.demo.svc.cluster.local", "A")))
        self.same("dig: service, AAAA", "fd00:10:96::80",
                  " ".join(self.dig("client-1", "web.demo.svc.cluster.local", "AAAA")))
        self.same("dig: service over TCP", "10.96.0.80",
                  " ".join(self.dig("client-2", "+tcp", "web.demo.svc.cluster.local", "A")))
        self.same("dig: SRV", "0 100 80 web.demo.svc.cluster.local.",
                  " ".join(self.dig("client-1", "_http._tcp.web.demo.svc.cluster.local", "SRV")))
        self.same("dig: PTR", "web.demo.svc.cluster.local.", " ".join(self.dig("client-1", "-x", "10.96.0.80")))
        self.same("dig: outside name, forwarded", "198.51.100.1", " ".join(self.dig("client-1", "www.example.org", "A")))
        hosts = c.call("client-1", ["getent", "ahostsv4", "web"]).stdout.split()[:1]
        self.same("getent: service by its short name", "10.96.0.80", " ".join(hosts))
        hosts = sorted({line.split()[0] for line in c.call("client-1", ["getent", "ahostsv4", "web-headless"]).stdout.splitlines()})
        self.same("getent: headless", " ".join(sorted([c.v4("web-1"), c.v4("web-2")])), " ".join(hosts))
        hosts = c.call("client-1", ["getent", "ahostsv4", "www.example.org"]).stdout.split()[:1]
        self.same("getent: outside name", "198.51.100.1", " ".join(hosts))
        status = c.call("client-1", ["dig", "+time=1", "nothing.demo.svc.cluster.local"]).stdout
        self.has("dig: a name that is not", "NXDOMAIN", status)

    def ingress(self):
        to = ("--resolve", f"shop.example.com:80:{INGRESS}", "--resolve", f"shop.example.com:443:{INGRESS}",
              "--cacert", f"{self.c.folder}/shop.crt")
        self.answers("ingress: HTTP by host", "out", "http://shop.example.com/cart", "web-", *to)
        self.answers("ingress: HTTP by path", "out", "http://shop.example.com/api/v1", "api-1 /api/v1", *to)
        self.answers("ingress: HTTPS, certificate by SNI", "out", "https://shop.example.com/cart", "web-", *to)
        self.answers("ingress: HTTPS by path", "out", "https://shop.example.com/api", "api-1 /api", *to)
        self.same("ingress: unknown host", "404", self.page("out", f"http://{INGRESS}/", "-o", "/dev/null", "-w", "%{http_code}"))

    def agent_killed(self):
        """SIGKILL to the agent of both ends while bytes flow: the kernel forwards on, and the agent finds its state."""
        c, count = self.c, 60_000_000
        before = c.status("n1")
        transfer = c.lab.start("transfer", ["curl", "-sS", "--max-time", "60", "-o", f"{c.folder}/transfer",
                                            f"http://{c.v4('web-2')}:8080/bytes/{count}"],
                               ns="client-1", cgroup=c.cgroup("n1", "client-1"))
        time.sleep(0.8)
        for node in NODES:
            c.lab.stop(c.agents[node], how=signal.SIGKILL)
        running = transfer.poll() is None
        time.sleep(0.5)
        self.answers("both agents dead: pod → pod goes on", "client-2", f"http://{c.v4('web-1')}:8080/", "web-1 /")
        self.refused("both agents dead: policy goes on", "stranger-1", f"http://{c.v4('api-1')}:8080/")
        for node in NODES:
            c.start_agent(node)
        for node in NODES:
            c.wait_agent(node)
        code = transfer.wait(60)
        seen = digest(f"{c.folder}/transfer")
        self.row("transfer across two killed agents", f"{count} bytes, all right",
                 f"{seen[0]} bytes, {'all right' if seen == expected_bytes('web-2', count) else 'WRONG'}, curl exit {code}",
                 running and code == 0 and seen == expected_bytes("web-2", count))
        after = c.status("n1")
        self.row("the agent recovered its state", f"{len(before['pods'])} pods, in sync",
                 f"{len(after['pods'])} pods, {'in sync' if after['synced'] else 'not in sync'}",
                 after["synced"] and before["pods"] == after["pods"])
        self.answers("… and goes on serving", "client-1", "http://10.96.0.80/", "web-")


def digest(path):
    sha, count = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            sha.update(block)
            count += len(block)
    return count, sha.hexdigest()


def expected_bytes(name, count):
    """What hello.py sends for /bytes/COUNT."""
    block, sha, left = hashlib.sha512(name.encode()).digest() * 1024, hashlib.sha256(), count
    while left > 0:
        sha.update(block[: min(left, len(block))])
        left -= min(left, len(block))
    return count, sha.hexdigest()
