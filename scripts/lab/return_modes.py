"""How a balancer's address answers the outside when its backend is on another node: through the node that was asked (SNAT),
or straight from the backend's node (DSR). A client on the underlay asks n1. Run by CTest, once for each mode."""

import hashlib
import json
import os
import sys
import time

from cluster import NODES, OUTSIDE, OUTSIDE6, BareCluster
from host import ip, wait_for
from objects import service, slices
from trial import Checks, flags, run

SERVICE = ("10.96.0.81", "fd00:10:96::81")
BALANCER, BALANCER6 = "203.0.113.81", "2001:db8:ffff::81"
DOWNLOAD, UPLOAD = 5_000_000, 400_000


class ReturnModes(Checks):
    def __init__(self, cluster, mode):
        super().__init__(cluster)
        self.dsr = mode == "dsr"

    def put(self, *pods):
        """The pods behind the balancer's addresses."""
        self.c.put("balanced.yaml", service("balanced", SERVICE, 80, 8080, type="LoadBalancer", statuses=(BALANCER, BALANCER6)),
                   *slices("balanced", self.c, pods, 8080))

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
        self.put("web-2")
        for host, client, node in ((BALANCER, OUTSIDE, NODES["n1"][0]), (f"[{BALANCER6}]", OUTSIDE6, NODES["n1"][1])):
            self.sees(host, client, node)
            self.transfers(host)
        self.spreads()
        self.moves()
        return self.good

    def sees(self, host, client, node):
        wait_for("the service", lambda: self.curl(host, timeout_s=2).returncode == 0)
        seen = self.curl(host).stdout
        self.say(f"{host}: the backend sees {'the client' if self.dsr else 'the node asked'}",
                 seen.startswith("web-2 ") and seen.strip().endswith(f"from {client if self.dsr else node}"), seen)

    def download(self, what, host):
        done = self.curl(host, f"/bytes/{DOWNLOAD}", "-o", "/dev/null", "-w", "%{size_download}")
        self.say(f"{what}: a download, whole", done.stdout == str(DOWNLOAD), done.stdout)

    def upload(self, what, host):
        body = os.urandom(UPLOAD)
        path = f"{self.c.folder}/upload"
        with open(path, "wb") as file:
            file.write(body)
        done = self.curl(host, "/", "-H", "Expect:", "--data-binary", f"@{path}")
        self.say(f"{what}: an upload, byte for byte", hashlib.sha256(body).hexdigest() in done.stdout, done.stdout)

    def transfers(self, host):
        before = self.received("n1")
        self.download(host, host)
        by_n1 = self.received("n1") - before
        self.say(f"{host}: … whose bytes {'do not pass' if self.dsr else 'pass'} the node asked",
                 (by_n1 < DOWNLOAD / 4) == self.dsr, f"{by_n1} bytes passed")
        self.upload(host, host)

    def spreads(self):
        self.put("web-1", "web-2")
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
        self.put("web-2")
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
    parser = flags("return_modes", __doc__, "twtret")
    parser.add_argument("--mode", default="dsr", choices=("snat", "dsr"))
    options = parser.parse_args()
    cluster = BareCluster(options.bin, options.prefix, ("--return-mode", options.mode))
    return run("return_modes", options, cluster, lambda cluster: ReturnModes(cluster, options.mode).all())


if __name__ == "__main__":
    sys.exit(main())
