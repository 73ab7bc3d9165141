"""The uplink's XDP program in real namespaces: a client on the underlay asks a balancer's address of n1, whose backend is on n2,
so that all of it comes in by n1's uplink and leaves by it again. The same answers with and without; with, XDP has carried
nearly every packet, also while no agent runs. Run by CTest, once for each way back (return_modes.py)."""

import signal
import sys
import time

from cluster import NODES, OUTSIDE, OUTSIDE6, BareCluster
from host import ip
from return_modes import BALANCER, BALANCER6, DOWNLOAD, UPLOAD, ReturnModes
from trial import flags, run

SEGMENT = 1500  # no packet is larger, so at least bytes / SEGMENT of them pass


class XdpCluster(BareCluster):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.xdp = {"n1": "native", "n2": "off"}

    def make_underlay(self):
        super().make_underlay()
        self.take_xdp("n1")
        self.finish_checksums("out")

    def add_pod(self, pod):
        super().add_pod(pod)
        self.finish_checksums(pod)

    def start_agent(self, node):
        common = self.agent_flags
        self.agent_flags = common + ["--xdp", self.xdp[node]]
        super().start_agent(node)
        self.agent_flags = common

    def again(self, node, xdp):
        """Another run of the agent, which finds what the one before has pinned."""
        self.lab.stop(self.agents[node])
        self.xdp[node] = xdp
        self.start_agent(node)
        self.wait_agent(node)


class Xdp(ReturnModes):
    def by_xdp(self):
        """Packets, as the agent says."""
        return self.c.status("n1")["byXdp"]["packets"]

    def hook(self):
        """What the kernel says is at the uplink: the mode and the program's number; empty: nothing."""
        words = ip("link", "show", "eth0", ns=self.c.lab.name("n1")).stdout.split()
        mode = next((word for word in words if word.startswith("xdp")), "")
        return (mode, words[words.index("prog/xdp") + 2]) if mode else ()

    def through(self, what, host, fewest_down, fewest_up, most=None):
        """A download and an upload; how many packets of each XDP has sent on."""
        before = self.by_xdp()
        self.download(f"{what}: {host}", host)
        down = self.by_xdp() - before
        self.upload(f"{what}: {host}", host)
        up = self.by_xdp() - before - down
        good = down == up == 0 if most == 0 else down >= fewest_down and up >= fewest_up
        self.say(f"{what}: {host}: XDP sent on {down} packets of the one, {up} of the other", good)

    # ---- the checks

    def all(self):
        self.ask_by("n1")
        self.put("web-2")
        # With DSR the answers do not pass n1: only acknowledgements do.
        down = 20 if self.dsr else DOWNLOAD // SEGMENT
        up = UPLOAD // SEGMENT
        places = ((BALANCER, OUTSIDE, NODES["n1"][0]), (f"[{BALANCER6}]", OUTSIDE6, NODES["n1"][1]))
        for host, client, node in places:
            self.sees(host, client, node)
            self.through("native", host, down, up)
        self.outlives_the_agent(down)
        self.modes(places, down, up)
        return self.good

    def outlives_the_agent(self, down):
        hook, before = self.hook(), self.by_xdp()
        self.say("the program is at the uplink, in native mode", hook and hook[0] == "xdp", hook)
        self.c.lab.stop(self.c.agents["n1"], how=signal.SIGKILL)
        self.download("no agent", BALANCER)
        self.c.start_agent("n1")
        self.c.wait_agent("n1")
        self.say("no agent: XDP sent on its packets", self.by_xdp() - before >= down, self.by_xdp() - before)
        self.say("the next agent finds the program and leaves it", self.hook() == hook, f"{hook} {self.hook()}")

    def modes(self, places, down, up):
        get = self.c.lab.start("download", ["curl", "-sg", "-m", "30", "--limit-rate", "1M", "-o", "/dev/null",
                                            f"http://{BALANCER}/bytes/{DOWNLOAD * 2}"], ns="out")
        time.sleep(0.3)
        for xdp, mode, said in (("off", "", "off"), ("auto", "", "off: what XDP sends by a veth"), ("native", "xdp", "native")):
            self.c.again("n1", xdp)
            status = self.c.status("n1")
            hook = self.hook()
            self.say(f"--xdp {xdp}: {said}", status["xdp"].startswith(said) and (hook[0] if hook else "") == mode,
                     f"{status['xdp']} {hook}")
            hooked = any(one["program"] == "at_uplink" for one in status["programs"])
            self.say(f"--xdp {xdp}: {'a' if mode else 'no'} pinned link", hooked == bool(mode), status["programs"])
            for host, _, _ in places:
                self.through(f"--xdp {xdp}", host, down, up, most=None if mode else 0)
        self.say("a download that began before all this comes to its end", get.wait(timeout=30) == 0, get.returncode)


def main():
    parser = flags("xdp", __doc__, "twtxdp")
    parser.add_argument("--mode", default="snat", choices=("snat", "dsr"))
    parser.add_argument("--overlay", default="vxlan", choices=("vxlan", "auto"))
    options = parser.parse_args()
    cluster = XdpCluster(options.bin, options.prefix, ("--return-mode", options.mode, "--overlay", options.overlay))
    return run("xdp", options, cluster, lambda cluster: Xdp(cluster, options.mode).all())


if __name__ == "__main__":
    sys.exit(main())
