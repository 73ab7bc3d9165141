"""How a balancer's address answers the outside when its backend is on another node: through the node that was asked (SNAT),
or straight from the backend's node (DSR). A client on the underlay asks n1. Run by CTest, once for each mode."""

import argparse
import hashlib
import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cluster import NODES, OUTSIDE, write  # noqa: E402
from demo import paint, show_logs  # noqa: E402
from host import LabError, cgroup2_root, ip, wait_for  # noqa: E402
from repair import RepairCluster  # noqa: E402

BALANCER, BALANCER6, OUTSIDE6 = "203.0.113.81", "2001:db8:ffff::81", "2001:db8::100"
DOWNLOAD, UPLOAD = 5_000_000, 400_000


def manifest(pods, addresses):
    """A Service and the slices of these pods: (name, node, IPv4, IPv6)."""
    text = f"""apiVersion: v1
kind: Service
metadata: {{name: balanced, namespace: demo}}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.81
  clusterIPs: [10.96.0.81, "fd00:10:96::81"]
  ipFamilies: [IPv4, IPv6]
  ports: [{{name: http, protocol: TCP, port: 80, targetPort: 8080}}]
status: {{loadBalancer: {{ingress: [{{ip: {BALANCER}}}, {{ip: "{BALANCER6}"}}]}}}}
"""
    for family in ("IPv4", "IPv6"):
        endpoints = "".join(f"""
- {{addresses: ["{addresses(pod, family)}"], conditions: {{ready: true}}, nodeName: {node}}}""" for pod, node in pods)
        text += f"""---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: balanced-{family.lower()}, namespace: demo, labels: {{kubernetes.io/service-name: balanced}}}}
addressType: {family}
ports: [{{name: http, protocol: TCP, port: 8080}}]
endpoints:{endpoints}
"""
    return text


class Checks:
    def __init__(self, cluster, mode):
        self.c, self.dsr, self.good = cluster, mode == "dsr", True

    def say(self, what, good, seen=""):
        self.good = self.good and bool(good)
        print(f"  {paint(bool(good))}  {what}{'' if good else ': ' + ' '.join(str(seen).split())}", flush=True)

    def put(self, *pods):
        write(f"{self.c.manifests}/balanced.yaml",
              manifest(pods, lambda pod, family: self.c.v4(pod) if family == "IPv4" else self.c.v6(pod)))

    def ask_by(self, node):
        """The underlay takes the balancer's addresses to this node."""
        for address, bits, via in ((BALANCER, 32, NODES[node][0]), (BALANCER6, 128, NODES[node][1])):
            ip("route", "replace", f"{address}/{bits}", "via", via, ns=self.c.lab.name("out"))

    def curl(self, host, path="/", *more, timeout_s=10):
        return self.c.lab.call(["curl", "-sg", "-m", str(timeout_s), *more, f"http://{host}{path}"], ns="out", timeout=30)

    def received(self, node):
        """Bytes the node has taken from the underlay."""
        link = json.loads(ip("-s", "-j", "link", "show", "eth0", ns=self.c.lab.name(node)).stdout)[0]
        return link["stats64"]["rx"]["bytes"]

    # ---- the checks

    def all(self):
        self.ask_by("n1")
        self.put(("web-2", "n2"))
        for host, client, node in ((BALANCER, OUTSIDE, NODES["n1"][0]), (f"[{BALANCER6}]", OUTSIDE6, NODES["n1"][1])):
            wait_for("the service", lambda: self.curl(host, timeout_s=2).returncode == 0)
            seen = self.curl(host).stdout
            self.say(f"{host}: the backend sees {'the client' if self.dsr else 'the node asked'}",
                     seen.startswith("web-2 ") and seen.strip().endswith(f"from {client if self.dsr else node}"), seen)
            self.transfers(host)
        self.spreads()
        self.moves()
        return self.good

    def transfers(self, host):
        before = self.received("n1")
        done = self.curl(host, f"/bytes/{DOWNLOAD}", "-o", "/dev/null", "-w", "%{size_download}")
        by_n1 = self.received("n1") - before
        self.say(f"{host}: a download, whole", done.stdout == str(DOWNLOAD), done.stdout)
        self.say(f"{host}: … whose bytes {'do not pass' if self.dsr else 'pass'} the node asked",
                 (by_n1 < DOWNLOAD / 4) == self.dsr, f"{by_n1} bytes passed")
        body = os.urandom(UPLOAD)
        path = f"{self.c.folder}/upload"
        with open(path, "wb") as file:
            file.write(body)
        done = self.curl(host, "/", "-H", "Expect:", "--data-binary", f"@{path}")
        self.say(f"{host}: an upload, byte for byte", hashlib.sha256(body).hexdigest() in done.stdout, done.stdout)

    def spreads(self):
        self.put(("web-1", "n1"), ("web-2", "n2"))
        wait_for("both backends", lambda: self.curl(BALANCER).stdout.startswith("web-1"))
        answers = [self.curl(BALANCER).stdout.split(" ")[0] for _ in range(60)]
        counts = {pod: answers.count(pod) for pod in ("web-1", "web-2")}
        self.say("both nodes' backends answer, and every client is answered",
                 sum(counts.values()) == len(answers) and min(counts.values()) >= 10, counts)

    def moves(self):
        """The underlay asks the other node in the middle of a connection. SNAT cannot survive that: the other node never saw
        it, and its own translation is another."""
        if not self.dsr:
            return
        self.put(("web-2", "n2"))
        wait_for("one backend", lambda: all(self.curl(BALANCER).stdout.startswith("web-2") for _ in range(8)))
        get = self.c.lab.start("download", ["curl", "-sg", "-m", "20", "-o", "/dev/null", "-w", "%{size_download}",
                                            f"http://{BALANCER}/bytes/{DOWNLOAD * 4}"], ns="out")
        time.sleep(0.3)
        self.ask_by("n2")
        time.sleep(0.3)
        self.say("a download is under way while the underlay changes its mind", get.poll() is None)
        self.ask_by("n1")
        self.say("… and comes to its end", get.wait(timeout=30) == 0, get.returncode)


def main():
    flags = argparse.ArgumentParser(prog="return_modes", description=__doc__)
    flags.add_argument("--bin", default=f"{os.path.dirname(os.path.abspath(__file__))}/../../build/bin")
    flags.add_argument("--mode", default="dsr", choices=("snat", "dsr"))
    flags.add_argument("--prefix", default="twtret")
    options = flags.parse_args()
    if os.geteuid() != 0 or not cgroup2_root():
        print("SKIP: needs root and a cgroup2 mount")
        return 77
    cluster = RepairCluster(options.bin, options.prefix)
    cluster.agent_flags = ["--return-mode", options.mode]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        cluster.up()
        good = Checks(cluster, options.mode).all()
        if not good:
            show_logs(cluster)
        return 0 if good else 1
    except LabError as error:
        print(f"return_modes: {error}", file=sys.stderr)
        show_logs(cluster)
        return 1
    finally:
        cluster.down()


if __name__ == "__main__":
    sys.exit(main())
