#!/usr/bin/env python3
"""thalweg-edge end to end, on an interface, against the kernel's own VXLAN:

      client .100 ──┐
      edge   .20  ──┼── lan (a bridge, 192.0.2.0/24, 2001:db8::/64)
      node   .11  ──┘   node: a plain VXLAN device with the pod's addresses behind it, no Thalweg at all

Usage: edge_test.py BIN_FOLDER. Exit 77: cannot run here."""

import hashlib
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{ROOT}/scripts/lab")
from host import Lab, ip, wait_for  # noqa: E402

EDGE, NODE, CLIENT = "192.0.2.20", "192.0.2.11", "192.0.2.100"
EDGE6, NODE6, CLIENT6 = "2001:db8::20", "2001:db8::11", "2001:db8::100"
POD, POD6 = "10.244.1.5", "fd00:10:244:1::5"
VIP, VIP6 = "203.0.113.80", "2001:db8:ffff::80"
INNER_EDGE_MAC, INNER_NODE_MAC = "02:54:57:00:00:01", "02:54:57:00:00:02"  # what stage 7 writes inside
TRANSFER_BYTES = 5_000_000
REFUSED = 7  # curl: the connection was refused


def service_yaml(port):
    return f"""apiVersion: v1
kind: Service
metadata: {{name: web, namespace: demo}}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.81
  clusterIPs: [10.96.0.81, "fd00:10:96::81"]
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: RequireDualStack
  ports: [{{name: http, protocol: TCP, port: {port}, targetPort: 8080}}]
status: {{loadBalancer: {{ingress: [{{ip: "{VIP}"}}, {{ip: "{VIP6}"}}]}}}}
"""


NODES = f"""apiVersion: v1
kind: Node
metadata: {{name: n1}}
spec: {{podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, "fd00:10:244:1::/64"]}}
status: {{addresses: [{{type: InternalIP, address: {NODE}}}, {{type: InternalIP, address: "{NODE6}"}}]}}
---
apiVersion: v1
kind: Node
metadata: {{name: edge}}
status: {{addresses: [{{type: InternalIP, address: {EDGE}}}, {{type: InternalIP, address: "{EDGE6}"}}]}}
"""


def slice_yaml(family, address):
    return f"""---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-{family.lower()}, namespace: demo, labels: {{kubernetes.io/service-name: web}}}}
addressType: {family}
ports: [{{name: http, protocol: TCP, port: 8080}}]
endpoints: [{{addresses: ["{address}"], conditions: {{ready: true}}, nodeName: n1}}]
"""


class EdgeLab:
    def __init__(self, binaries):
        self.lab = Lab("twt-edge", "/run/thalweg-lab/twt-edge")
        self.binaries = binaries
        self.folder = self.lab.folder
        self.failed = 0

    def write(self, name, text):
        path = f"{self.folder}/manifests/{name}"
        with open(path + ".new", "w") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def up(self):
        self.lab.clear()
        os.makedirs(f"{self.folder}/manifests")
        self.write("nodes.yaml", NODES + slice_yaml("IPv4", POD) + slice_yaml("IPv6", POD6))
        self.write("service.yaml", service_yaml(80))
        lan = self.lab.add_namespace("lan")
        ip("link", "add", "br0", "type", "bridge", ns=lan)
        ip("link", "set", "br0", "up", ns=lan)
        self.make_client()
        self.make_node()
        self.make_edge()

    def make_client(self):
        name = self.lab.add_namespace("client")
        self.lab.connect("client", "lan", "br0", f"{CLIENT}/24", f"{CLIENT6}/64")
        ip("route", "add", f"{VIP}/32", "via", EDGE, ns=name)
        ip("route", "add", f"{VIP6}/128", "via", EDGE6, ns=name)

    def make_node(self):
        """Answers of the pod go back into the tunnel, whatever the underlay knows of the edge."""
        name = self.lab.add_namespace("node")
        self.lab.connect("node", "lan", "br0", f"{NODE}/24", f"{NODE6}/64")
        self.lab.call(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"], ns="node")
        ip("link", "add", "vx1", "address", INNER_NODE_MAC, "type", "vxlan", "id", "1", "local", NODE, "remote", EDGE,
           "dstport", "4789", "dev", "eth0", "nolearning", ns=name)
        ip("link", "set", "vx1", "up", ns=name)
        for pod, edge, family in ((POD, EDGE, "-4"), (POD6, EDGE6, "-6")):
            ip("addr", "add", pod, "dev", "lo", *(["nodad"] if ":" in pod else []), ns=name)
            ip(family, "rule", "add", "from", pod, "lookup", "100", ns=name)
            ip(family, "route", "add", edge, "dev", "vx1", "table", "100", ns=name)
            ip("neigh", "add", edge, "lladdr", INNER_EDGE_MAC, "dev", "vx1", "nud", "permanent", ns=name)
        os.makedirs(f"{self.folder}/www")
        with open(f"{self.folder}/www/file", "wb") as file:
            file.write(os.urandom(TRANSFER_BYTES))
        self.lab.start("www", ["python3", "-m", "http.server", "8080", "--bind", "::", "-d", f"{self.folder}/www"],
                       ns="node")

    def make_edge(self):
        self.lab.add_namespace("edge")
        self.lab.call(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1"],
                      ns="edge")
        self.lab.connect("edge", "lan", "br0")
        self.lab.call(["ethtool", "-K", "p-edge", "tx", "off"], ns="lan")
        self.edge = self.lab.start(
            "thalweg-edge", [f"{self.binaries}/thalweg-edge", "--node-name", "edge", "--manifests",
                             f"{self.folder}/manifests", "--port-iface", "eth0", "--address", f"{EDGE}/24", "--address",
                             f"{EDGE6}/64", "--run-dir", f"{self.folder}/edge"], ns="edge")
        wait_for("thalweg-edge to be in sync", lambda: self.edge.poll() is not None or self.get("healthz") == "ok\n", 60)

    def get(self, path):
        return self.lab.call(["curl", "-s", "--unix-socket", f"{self.folder}/edge/edge.sock", f"http://edge/{path}"]).stdout

    def curl(self, url, timeout="10"):
        return self.lab.call(["curl", "-sgf", "-m", timeout, "-o", f"{self.folder}/got", url], ns="client", timeout=30)

    def check(self, what, holds, seen=""):
        print(f"{'ok  ' if holds else 'FAIL'}  {what}  {seen if not holds else ''}", flush=True)
        self.failed += not holds

    def checks(self):
        status = lambda: json.loads(self.get("v1/status"))  # noqa: E731
        self.check("the edge runs", self.edge.poll() is None)
        for host in (f"{VIP}", f"[{VIP6}]"):
            self.check(f"{host} answers", self.curl(f"http://{host}/file").returncode == 0)
            self.check(f"{host}: the whole transfer, byte for byte", self.same())
        for address in (EDGE, VIP, EDGE6, VIP6):
            done = self.lab.call(["ping", "-n", "-c", "1", "-W", "5", address], ns="client")
            self.check(f"echo of {address}", done.returncode == 0, done.stdout)
        self.check("the echoes were answered by the edge itself", status()["worker"]["echoAnswers"] >= 4)
        self.check("another port refuses", self.curl(f"http://{VIP}:81/file", "5").returncode == REFUSED)
        self.check("and is counted", status()["drops"].get("NO_SERVICE_PORT", 0) > 0)
        self.check("metrics", "thalweg_edge_received_packets_total" in self.get("metrics"))
        self.check("tables", len(json.loads(self.get("v1/tables"))["tables"]["backends"]) == 2)
        self.write("service.yaml", service_yaml(81))
        wait_for("the changed service", lambda: self.curl(f"http://{VIP}:81/file", "2").returncode == 0)
        self.check("a changed service is followed", self.curl(f"http://{VIP}/file", "5").returncode == REFUSED)
        self.write("broken.yaml", "kind: [")
        self.check("a broken manifest disturbs nothing", self.curl(f"http://{VIP}:81/file").returncode == 0)
        self.lab.stop(self.edge)
        self.check("it ends when told to", self.edge.returncode == 0, self.edge.returncode)
        self.check("and leaves nothing of DPDK behind", not os.path.exists(f"/var/run/dpdk/thalweg-{self.edge.pid}"))

    def same(self):
        digest = lambda path: hashlib.sha256(open(path, "rb").read()).digest()  # noqa: E731
        got = f"{self.folder}/got"
        return os.path.exists(got) and digest(got) == digest(f"{self.folder}/www/file")


def main(binaries):
    if os.geteuid() != 0:
        print("SKIP: needs root for network namespaces")
        return 77
    lab = EdgeLab(binaries)
    try:
        lab.up()
        lab.checks()
        if lab.failed:
            print(open(f"{lab.folder}/log/thalweg-edge").read())
            print(lab.get("v1/status"))
    finally:
        lab.lab.sweep()
    return 1 if lab.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
