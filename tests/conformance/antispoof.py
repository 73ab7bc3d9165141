#!/usr/bin/env python3
"""Who claims what is not theirs: forged frames from raw sockets in real pods and on a real underlay, against real
agents and their programs in the kernel. For each: it arrives nowhere, the drop is counted under its reason, and an
honest frame sent after it, as alike as can be, arrives (so no case passes because nothing passes).

Usage: antispoof.py --bin build/bin [--prefix twtas] [--only TEXT]. Exit 77: skipped."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/lab"))

from antispoof_cases import cases  # noqa: E402
from cluster import NODES, PODS, Cluster  # noqa: E402
from host import ip, wait_for  # noqa: E402
from trial import Checks, flags, run  # noqa: E402
from wire import Watch, sender  # noqa: E402

COPIES = 5  # of each forged frame: more than a kernel's own chatter would add to a counter meanwhile


class Lab(Cluster):
    """Two nodes and their pods, wired by the real CNI plugin; out is a stranger on the underlay."""

    def up(self):
        self.lab.clear()
        self.copy_inputs()
        self.make_underlay()
        for node in NODES:
            self.start_agent(node)
        for node in NODES:
            self.wait_agent(node)
        for pod in PODS:
            self.add_pod(pod)
        for node in NODES:
            wait_for(f"pods on {node}", lambda node=node: len((self.status(node) or {}).get("pods", [])) == 3)

    def start_hello(self, pod):
        pass  # nobody answers here: frames are watched, not served

    def links(self):
        """MACs by place, and the host side's interface of each pod."""
        macs, host_links = {}, {}
        for node in NODES:
            macs[node] = self.mac_of(node, "eth0")
            for pod in self.status(node)["pods"]:
                name = pod["pod"].split("/")[1]
                host_links[name] = pod["link"]
                macs[name] = self.mac_of(name, "eth0")
                macs[f"{name} gateway"] = self.mac_of(node, pod["link"])
        macs["out"] = self.mac_of("out", "eth0")
        return macs, host_links

    def mac_of(self, place, interface):
        shown = ip("-o", "link", "show", interface, ns=self.lab.name(place)).stdout
        return shown.split("link/ether ")[1].split()[0]


class Matrix(Checks):
    def __init__(self, lab):
        super().__init__(lab)
        self.lab = lab
        self.macs, self.host_links = lab.links()
        self.watch = Watch()
        for place in ("web-1", "stranger-1", "web-2", "client-2", "api-1", "n1", "n2", "out", "client-1"):
            self.watch.frames(place, lab.lab.name(place))
        for node in NODES:
            self.watch.stack(node, lab.lab.name(node))
        self.senders = {place: sender(lab.lab.name(place), "eth0") for place in ("client-1", "web-1", "out")}
        self.number = 0

    def close(self):
        self.watch.close()
        for raw in self.senders.values():
            raw.close()

    def token(self):
        self.number += 1
        return b"TOKEN%011d" % self.number

    def harmless(self, place):
        """Where a frame of that sender is seen before any program has looked at it."""
        if place == "out":  # the bridge floods what it does not know
            return {"out eth0 out", "n1 eth0 in", "n2 eth0 in"}
        node = PODS[place]
        return {f"{place} eth0 out", f"{node} {self.host_links[place]} in"}

    def run(self, case):
        """Empty, or what is wrong."""
        node = case.node
        self.watch.drain()
        for place, frame in case.first or ():
            self.senders[place].send(frame)
        before = self.lab.drops(node)
        forged, honest = self.token(), self.token()
        raw = self.senders[case.sender]
        for _ in range(COPIES):
            for frame in case.forged(forged):
                raw.send(frame)
        for frame in case.honest(honest):
            raw.send(frame)
        seen = self.watch.look([forged, honest], lambda seen: case.arrives in seen[honest])
        after = self.lab.drops(node)
        wrong = []
        if case.arrives not in seen[honest]:
            wrong.append(f"the honest frame did not come to {case.arrives}; seen: {sorted(seen[honest])}")
        leaks = seen[forged] - self.harmless(case.sender) - set(case.may_see)
        if leaks:
            wrong.append(f"the forged frame was seen: {', '.join(sorted(leaks))}")
        rose = {reason: count - before.get(reason, 0) for reason, count in after.items() if count != before.get(reason, 0)}
        if case.reason and rose.get(case.reason, 0) < COPIES:
            wrong.append(f"{case.reason} did not rise by {COPIES}; these rose: {rose}")
        return "; ".join(wrong)

    def all(self, only):
        every = [case for case in cases(self.lab, self.macs) if only in case.name]
        held = 0
        for case in every:
            wrong = self.run(case)
            held += not wrong
            self.say(f"{case.reason or '(passed by)':<20} {case.name}", not wrong, wrong)
        print(f"{held} of {len(every)} cases hold")
        self.close()
        return self.good and bool(every)


def main():
    parser = flags("antispoof", __doc__, "twtas")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose names hold it")
    options = parser.parse_args()
    return run("antispoof", options, Lab(options.bin, options.prefix), lambda lab: Matrix(lab).all(options.only))


if __name__ == "__main__":
    sys.exit(main())
