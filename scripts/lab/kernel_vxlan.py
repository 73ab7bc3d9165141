"""The peer of every datapath figure: two nodes as flannel would make them, of the kernel's own parts.

            lan (a bridge)
       ┌──────┴──────┐
      k1            k2        each: cni0 (a bridge), vxlan1 with static FDB and neighbours, routes by podCIDR
     a1 b1           a2       the pods a1, b1 on k1 and a2 on k2, each a veth into cni0

MTUs are those of the demo cluster's pods, so that segment sizes are equal."""

from host import Lab, ip

NODES = {"k1": ("192.0.2.21", "10.245.1"), "k2": ("192.0.2.22", "10.245.2")}
PODS = {"a1": ("k1", 2), "b1": ("k1", 3), "a2": ("k2", 2)}


class KernelVxlan:
    def __init__(self, prefix="twk"):
        self.lab = Lab(prefix, f"/run/thalweg-lab/{prefix}")

    def up(self, mtu=1450):
        self.lab.clear()
        lan = self.lab.add_namespace("lan")
        ip("link", "add", "br0", "type", "bridge", ns=lan)
        ip("link", "set", "br0", "up", ns=lan)
        for number, (node, (address, pods)) in enumerate(NODES.items(), 1):
            name = self.lab.add_namespace(node)
            self.lab.connect(node, "lan", "br0", f"{address}/24")
            self.lab.call(["sysctl", "-qw", "net.ipv4.ip_forward=1"], ns=node)
            ip("link", "add", "cni0", "mtu", str(mtu), "type", "bridge", ns=name)
            ip("link", "set", "cni0", "up", ns=name)
            ip("addr", "add", f"{pods}.1/24", "dev", "cni0", ns=name)
            ip("link", "add", "vxlan1", "address", mac(number), "mtu", str(mtu), "type", "vxlan", "id", "1",
               "dstport", "8472", "local", address, "nolearning", ns=name)
            ip("link", "set", "vxlan1", "up", ns=name)
            ip("addr", "add", f"{pods}.0/32", "dev", "vxlan1", ns=name)
        for number, (node, (address, pods)) in enumerate(NODES.items(), 1):
            for other in NODES.keys() - {node}:
                name = self.lab.name(other)
                ip("neigh", "add", f"{pods}.0", "lladdr", mac(number), "dev", "vxlan1", "nud", "permanent", ns=name)
                self.lab.call(["bridge", "fdb", "add", mac(number), "dev", "vxlan1", "dst", address], ns=other)
                ip("route", "add", f"{pods}.0/24", "via", f"{pods}.0", "dev", "vxlan1", "onlink", ns=name)
        for pod, (node, last) in PODS.items():
            self.lab.add_namespace(pod)
            self.lab.connect(pod, node, "cni0", f"{self.address(pod)}/24")
            for where, link in ((node, f"p-{pod}"), (pod, "eth0")):
                ip("link", "set", link, "mtu", str(mtu), ns=self.lab.name(where))
            ip("route", "add", "default", "via", f"{NODES[node][1]}.1", ns=self.lab.name(pod))
        return self

    def address(self, pod):
        node, last = PODS[pod]
        return f"{NODES[node][1]}.{last}"

    def down(self):
        self.lab.sweep()


def mac(number):
    return f"0a:00:00:00:00:{number:02x}"
