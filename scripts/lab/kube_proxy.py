"""The peer of the connection figures: a node whose Services are made as kube-proxy makes them, by iptables or nftables.

      client ── node ── server       veths and routes, no bridge; conntrack and NAT in the node

Each node has one way of N Services, all but one of them with an endpoint that no one calls. The one called stands in
the middle of the list: a packet for it passes half of the others' rules, where there are rules to pass."""

from host import ip, run

PODS = {"client": "10.201.1.2", "server": "10.201.1.3"}
NFT_CHUNK = 500


def service_ip(number):
    return f"10.{96 + number // 65536}.{number // 256 % 256}.{number % 256}"


class KubeProxyNode:
    def __init__(self, lab, name, services, port=80):
        self.lab, self.name, self.services, self.port = lab, name, services, port
        self.vip = service_ip(services // 2)

    def up(self):
        node = self.lab.add_namespace(self.name)
        self.lab.call(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.netfilter.nf_conntrack_tcp_timeout_close=1"],
                      ns=self.name)
        for pod, address in PODS.items():
            ns = self.lab.add_namespace(f"{self.name}-{pod}")
            ip("link", "add", f"v-{pod}", "netns", node, "type", "veth", "peer", "name", "eth0", "netns", ns)
            ip("addr", "add", f"{address}/32", "dev", "eth0", ns=ns)
            ip("addr", "add", "169.254.1.1/32", "dev", f"v-{pod}", ns=node)
            ip("link", "set", "eth0", "up", ns=ns)
            ip("link", "set", f"v-{pod}", "up", ns=node)
            ip("route", "add", "169.254.1.1", "dev", "eth0", ns=ns)
            ip("route", "add", "default", "via", "169.254.1.1", "src", address, ns=ns)
            ip("route", "add", f"{address}/32", "dev", f"v-{pod}", ns=node)
        return self

    def netns(self, pod):
        return self.lab.name(f"{self.name}-{pod}")

    def endpoint(self, number):
        return PODS["server"] if number == self.services // 2 else f"100.64.{number // 256 % 256}.{number % 256}"

    def load(self, program, text):
        run("nsenter", f"--net=/run/netns/{self.lab.name(self.name)}", *program, stdin=text, timeout=200)

    def use_iptables(self):
        """A rule a Service in one chain, a chain a Service, a chain an endpoint."""
        chains, jumps, rules = [], [], []
        for number in range(self.services):
            chains.append(f":KUBE-SVC-{number} - [0:0]\n:KUBE-SEP-{number} - [0:0]")
            jumps.append(f"-A KUBE-SERVICES -d {service_ip(number)}/32 -p tcp -m tcp --dport {self.port} -j KUBE-SVC-{number}")
            rules.append(f"-A KUBE-SVC-{number} -j KUBE-SEP-{number}\n"
                         f"-A KUBE-SEP-{number} -p tcp -m tcp -j DNAT --to-destination {self.endpoint(number)}:{self.port}")
        self.load(["iptables-legacy-restore"], "\n".join(
            ["*nat", ":KUBE-SERVICES - [0:0]", *chains, "-A PREROUTING -j KUBE-SERVICES", *jumps, *rules, "COMMIT", ""]))
        return self

    def use_nftables(self):
        """One lookup in a verdict map, then the Service's chain."""
        self.load(["nft", "-f", "-"], """table ip kube-proxy {
  map service-ips { type ipv4_addr . inet_proto . inet_service : verdict; }
  chain services { ip daddr . meta l4proto . th dport vmap @service-ips; }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
}
""")
        for first in range(0, self.services, NFT_CHUNK):
            lines = []
            for number in range(first, min(first + NFT_CHUNK, self.services)):
                lines.append(f"add chain ip kube-proxy svc-{number}")
                lines.append(f"add rule ip kube-proxy svc-{number} ip protocol tcp dnat to {self.endpoint(number)}:{self.port}")
                lines.append(f"add element ip kube-proxy service-ips "
                             f"{{ {service_ip(number)} . tcp . {self.port} : goto svc-{number} }}")
            self.load(["nft", "-f", "-"], "\n".join(lines) + "\n")
        return self
