"""The cases of antispoof.py: who sends what, under which reason it must be dropped, and which honest frame passes.

client-1 is the pod that lies (on n1, with web-1; web-2 is on n2); out is a stranger on the underlay who also speaks
in the name of n2, as anyone on that segment can."""

import struct

from cluster import NODES, OUTSIDE
from wire import (ARP, BROADCAST, GRE, ICMP, ICMPV6, IPV4, IPV6, QINQ, ROUTING, TCP, UDP, VLAN, arp, eth, icmp, ip, ipv4,
                  ipv6, mac, tcp, udp, vxlan)

SERVICE, SERVICE6, WORLD, WORLD6 = "10.96.0.80", "fd00:10:96::80", "203.0.113.7", "2001:db8:ffff::7"
(N1, N1_6), (N2, N2_6) = NODES["n1"], NODES["n2"]
TUNNEL_PORT = 4789
INNER_MACS = ("02:54:57:00:00:02", "02:54:57:00:00:01")


class Case:
    """first: what is sent before all else, by another place. may_see: where a forged frame is no leak."""

    def __init__(self, name, reason, forged, honest, arrives, sender="client-1", node="n1", may_see=(), first=None):
        self.name, self.reason, self.forged, self.honest, self.arrives = name, reason, forged, honest, arrives
        self.sender, self.node, self.may_see, self.first = sender, node, may_see, first


def frames(make):
    """A token → the frames to send; make returns one frame or several."""
    def made(token):
        one = make(token)
        return [one] if isinstance(one, bytes) else one
    return made


class Actors:
    def __init__(self, lab, macs):
        self.macs = macs
        self.a, self.b, self.c, self.api = (lab.v4(pod) for pod in ("client-1", "web-1", "web-2", "api-1"))
        self.a6, self.b6, self.c6 = (lab.v6(pod) for pod in ("client-1", "web-1", "web-2"))

    # What client-1 sends: an IP packet in the Ethernet frame its kernel would make.
    def frame(self, packet, kind=None, to=None, source=None):
        kind = kind or (IPV6 if packet[0] >> 4 == 6 else IPV4)
        return eth(to or self.macs["client-1 gateway"], source or self.macs["client-1"], kind, packet)

    def datagram(self, source, to, token, **ports):
        return ip(source, to, UDP, udp(source, to, token, **ports))

    # What comes from the underlay to n1.
    def wire(self, packet):
        return eth(self.macs["n1"], self.macs["out"], IPV6 if packet[0] >> 4 == 6 else IPV4, packet)

    def tunnel(self, outer, inner, network=1, flags=8, kind=None, to=N1):
        kind = kind or (IPV6 if inner[0] >> 4 == 6 else IPV4)
        payload = vxlan(network, eth(*INNER_MACS, kind, inner), flags)
        return self.wire(ipv4(outer, to, UDP, udp(outer, to, payload, from_port=50000, to_port=TUNNEL_PORT)))

    # Honest twins.
    def to_neighbour(self, token):
        return self.frame(self.datagram(self.a, self.b, token))

    def to_neighbour6(self, token):
        return self.frame(self.datagram(self.a6, self.b6, token))

    def to_other_node(self, token):
        return self.frame(self.datagram(self.a, self.c, token))

    def by_tunnel(self, token):
        return self.tunnel(N2, self.datagram(self.c, self.a, token))


AT_B, AT_C, AT_A, AT_OUT = "web-1 eth0 in", "web-2 eth0 in", "client-1 eth0 in", "out eth0 in"


def cases(lab, macs):
    x = Actors(lab, macs)
    out = []
    for part in (sources, sources6, ethernet, arp_and_discovery, dhcp, tunnel_ports, icmp_errors, headers, fragments,
                 tunnels, without_tunnel):
        out += part(x)
    return out


# ---- a pod's addresses and MAC


def sources(x):
    def one(what, source, to, honest, arrives):
        return Case(f"a pod sends from {what}", "SPOOFED_SOURCE",
                    frames(lambda token: x.frame(x.datagram(source, to, token))), frames(honest), arrives)
    near = [("its neighbour's address, to it", x.b, x.b), ("another node's pod's address", x.c, x.b),
            ("its node's address", N1, x.b), ("another node's address", N2, x.b), ("a service's address", SERVICE, x.b),
            ("the world's address", WORLD, x.b), ("127.0.0.1", "127.0.0.1", x.b), ("0.0.0.0", "0.0.0.0", x.b),
            ("a multicast address", "224.0.0.251", x.b), ("the broadcast address", "255.255.255.255", x.b),
            ("a link-local address", "169.254.1.1", x.b), ("the world's address, to its node", WORLD, N1),
            ("127.0.0.1, to its node", "127.0.0.1", N1)]
    far = [("its neighbour's address, to another node", x.b, x.c), ("the world's address, to another node", WORLD, x.c)]
    return [one(*case, x.to_neighbour, AT_B) for case in near] + [one(*case, x.to_other_node, AT_C) for case in far] + [
        Case("a pod sends from its neighbour's address, to a service", "SPOOFED_SOURCE",
             frames(lambda token: x.frame(ipv4(x.b, SERVICE, TCP, tcp(5000, 80, 2, token)))), frames(x.to_neighbour), AT_B),
        Case("a pod sends from its neighbour's address, to the world", "SPOOFED_SOURCE",
             frames(lambda token: x.frame(x.datagram(x.b, OUTSIDE, token))),
             frames(lambda token: x.frame(x.datagram(x.a, OUTSIDE, token))), AT_OUT)]


def sources6(x):
    def one(what, source, reason="SPOOFED_SOURCE"):
        return Case(f"a pod sends from {what}", reason, frames(lambda token: x.frame(x.datagram(source, x.b6, token))),
                    frames(x.to_neighbour6), AT_B)
    def mapped(what, source, to):
        return Case(f"a pod sends IPv6 {what}", "BAD_HEADER", frames(lambda token: x.frame(
            ipv6(source, to, UDP, udp(source, to, token)))), frames(x.to_neighbour6), AT_B)
    return [one("its neighbour's IPv6 address", x.b6), one("another node's pod's IPv6 address", x.c6),
            one("its node's IPv6 address", N1_6), one("a service's IPv6 address", SERVICE6),
            one("the world's IPv6 address", WORLD6), one("::1", "::1"), one("::", "::"),
            one("an IPv6 multicast address", "ff02::1"), one("a link-local IPv6 address to a global one", "fe80::bad"),
            mapped("in IPv4's name, its own", f"::ffff:{x.a}", f"::ffff:{x.b}"),
            mapped("in IPv4's name, its neighbour's", f"::ffff:{x.b}", f"::ffff:{x.c}"),
            mapped("to an IPv4 address", x.a6, f"::ffff:{x.b}")]


def ethernet(x):
    def foreign(what, source):
        return Case(f"a pod sends from {what}", "SPOOFED_SOURCE",
                    frames(lambda token: x.frame(x.datagram(x.a, x.b, token, from_port=5001), source=source)),
                    frames(lambda token: x.frame(x.datagram(x.a, x.b, token, from_port=5001))), AT_B)
    def tagged(what, kind, tag, to, honest, arrives):
        return Case(f"a pod sends {what}", "UNKNOWN_PROTOCOL", frames(lambda token: x.frame(
            struct.pack("!HH", tag, IPV4) + x.datagram(x.a, to, token), kind=kind)), frames(honest), arrives)
    to_world = lambda token: x.frame(x.datagram(x.a, OUTSIDE, token))  # noqa: E731
    return [foreign("its neighbour's MAC", x.macs["web-1"]), foreign("a MAC nobody has", "02:00:00:00:00:99"),
            foreign("its gateway's MAC", x.macs["client-1 gateway"]), foreign("a multicast MAC", "01:00:5e:00:00:01"),
            tagged("with a VLAN tag, to its neighbour", VLAN, 5, x.b, x.to_neighbour, AT_B),
            tagged("with a VLAN tag, to the world", VLAN, 5, OUTSIDE, to_world, AT_OUT),
            tagged("with a VLAN tag, to another node", VLAN, 5, x.c, x.to_other_node, AT_C),
            tagged("with a provider's VLAN tag", QINQ, 5, x.b, x.to_neighbour, AT_B),
            tagged("with a priority tag", VLAN, 0xE000, x.b, x.to_neighbour, AT_B)]


# ---- what only routers, neighbours and servers may say


def arp_and_discovery(x):
    def said(what, reason, frame):
        return Case(f"a pod sends {what}", reason, frames(frame), frames(x.to_neighbour), AT_B)
    def asked(kind, sender, target, to=BROADCAST):
        return lambda token: x.frame(arp(kind, x.macs["client-1"], sender, BROADCAST, target) + token, kind=ARP, to=to)
    def discovery(kind, to, body, hops=255):
        def frame(token):
            message = icmp(x.a6, to, kind, 0, body + token)
            to_mac = "33:33:00:00:00:01" if to.startswith("ff") else None
            return x.frame(ipv6(x.a6, to, ICMPV6, message, ttl=hops), to=to_mac)
        return frame
    target, router = b"\0" * 4 + bytes.fromhex("fe80" + "00" * 13 + "01"), b"\x40\x40" + b"\0" * 10
    option = b"\x02\x01" + mac(x.macs["client-1"])
    host = ipv4(x.a, x.b, UDP, b"12345678")
    return [
        said("an ARP request in its neighbour's name", "UNKNOWN_PROTOCOL", asked(1, x.b, N1)),
        said("an ARP reply in the gateway's name", "UNKNOWN_PROTOCOL", asked(2, "169.254.1.1", x.b, x.macs["web-1"])),
        said("a gratuitous ARP for its node's address", "UNKNOWN_PROTOCOL", asked(1, N1, N1)),
        said("a neighbour solicitation", "LINK_LOCAL", discovery(135, "ff02::1", target + option)),
        said("a neighbour advertisement to its neighbour", "LINK_LOCAL", discovery(136, x.b6, target + option)),
        said("a neighbour advertisement to its node", "LINK_LOCAL", discovery(136, N1_6, target + option)),
        said("a router advertisement to all", "LINK_LOCAL", discovery(134, "ff02::1", router)),
        said("a router advertisement to its neighbour", "LINK_LOCAL", discovery(134, x.b6, router)),
        said("an ICMPv6 redirect", "LINK_LOCAL", discovery(137, x.b6, target + b"\0" * 16)),
        said("an ICMP redirect", "LINK_LOCAL", lambda token: x.frame(
            ipv4(x.a, x.b, ICMP, icmp(x.a, x.b, 5, 1, b"\0" * 4 + host + token)))),
        said("an ICMP router advertisement", "LINK_LOCAL", lambda token: x.frame(
            ipv4(x.a, x.b, ICMP, icmp(x.a, x.b, 9, 0, b"\0" * 12 + token)))),
        said("multicast DNS", "LINK_LOCAL", lambda token: x.frame(x.datagram(x.a, "224.0.0.251", token), to="01:00:5e:00:00:fb")),
        said("to the broadcast address", "LINK_LOCAL", lambda token: x.frame(
            x.datagram(x.a, "255.255.255.255", token), to=BROADCAST)),
        said("to 127.0.0.1", "LINK_LOCAL", lambda token: x.frame(x.datagram(x.a, "127.0.0.1", token))),
        said("to ::1", "LINK_LOCAL", lambda token: x.frame(x.datagram(x.a6, "::1", token))),
        said("to 0.0.0.0", "LINK_LOCAL", lambda token: x.frame(x.datagram(x.a, "0.0.0.0", token)))]


def dhcp(x):
    def server(what, reason, source, to, ports, honest):
        return Case(f"a pod is a DHCP server, {what}", reason,
                    frames(lambda token: x.frame(x.datagram(source, to, token, from_port=ports[0], to_port=ports[1]))),
                    frames(honest), AT_B)
    almost = lambda token: x.frame(x.datagram(x.a, x.b, token, from_port=67, to_port=67))     # noqa: E731
    almost6 = lambda token: x.frame(x.datagram(x.a6, x.b6, token, from_port=547, to_port=547))  # noqa: E731
    return [server("to its neighbour", "DHCP_SERVER", x.a, x.b, (67, 68), almost),
            server("to all", "LINK_LOCAL", x.a, "255.255.255.255", (67, 68), almost),
            server("over IPv6 to its neighbour", "DHCP_SERVER", x.a6, x.b6, (547, 546), almost6),
            server("over IPv6 to all", "LINK_LOCAL", x.a6, "ff02::1:2", (547, 546), almost6)]


def tunnel_ports(x):
    def to(what, address, reason, honest, arrives, inner=None):
        def forged(token):
            payload = vxlan(1, eth(*INNER_MACS, IPV4, inner(token))) if inner else token
            return x.frame(x.datagram(x.a, address, payload, to_port=TUNNEL_PORT))
        return Case(f"a pod speaks to {what}", reason, frames(forged), frames(honest), arrives)
    near = lambda token: x.frame(x.datagram(x.a, N1, token, to_port=4790))  # noqa: E731
    far = lambda token: x.frame(x.datagram(x.a, N2, token, to_port=4790))   # noqa: E731
    return [to("the tunnel port of its node", N1, "TUNNEL_FROM_POD", near, "n1 stack"),
            to("the tunnel port of another node", N2, "TUNNEL_FROM_POD", far, "n2 stack"),
            to("the tunnel port of 127.0.0.1", "127.0.0.1", "LINK_LOCAL", near, "n1 stack"),
            to("its node in VXLAN made by hand", N1, "TUNNEL_FROM_POD", near, "n1 stack",
               inner=lambda token: x.datagram(x.c, x.b, token)),
            to("another node in VXLAN made by hand", N2, "TUNNEL_FROM_POD", far, "n2 stack",
               inner=lambda token: x.datagram(x.b, x.c, token))]


def icmp_errors(x):
    def error(source, quoted_source, quoted_to, token, port=5100, to=x.b):
        quoted = ipv4(quoted_source, quoted_to, UDP, udp(quoted_source, quoted_to, token, from_port=port))
        return x.frame(ipv4(source, to, ICMP, icmp(source, to, 3, 3, b"\0" * 4 + quoted)))
    def by_neighbour(to):  # web-1 opens the flow that the errors are about
        return "web-1", eth(x.macs["web-1 gateway"], x.macs["web-1"], IPV4, x.datagram(x.b, to, b"", from_port=5100))
    def about(what, reason, source, quoted_to, port=5100, to=x.b):
        return Case(f"a pod sends an ICMP error {what}", reason,
                    frames(lambda token: error(source, x.b, quoted_to, token, port, to)),
                    frames(lambda token: error(x.a, x.b, x.a, token)), AT_B, first=[by_neighbour(x.c), by_neighbour(x.a)])
    return [about("about its neighbour's flow with another", "SPOOFED_SOURCE", x.a, x.c),
            about("about its neighbour's flow with another, in the other's name", "SPOOFED_SOURCE", x.c, x.c),
            about("about its own flow, to another than it is about", "UNRELATED_ICMP", x.a, x.a, to=x.api),
            about("in its node's name about its own flow", "SPOOFED_SOURCE", N1, x.a),
            about("in the world's name about its own flow", "SPOOFED_SOURCE", WORLD, x.a),
            about("about a flow that never was", "UNRELATED_ICMP", x.a, x.a, port=5999)]


# ---- headers


def headers(x):
    def said(what, reason, frame, honest=None, arrives=AT_B, may_see=()):
        return Case(f"a pod sends {what}", reason, frames(frame), frames(honest or x.to_neighbour), arrives, may_see=may_see)
    def routed(kind):
        options = bytes([kind, 7, 4]) + bytes(map(int, x.c.split("."))) + b"\0"
        return lambda token: x.frame(ipv4(x.a, x.b, UDP, udp(x.a, x.b, token), options=options))
    nops = lambda token: x.frame(ipv4(x.a, x.b, UDP, udp(x.a, x.b, token), options=b"\1" * 8))  # noqa: E731
    def routing(kind, left):
        def frame(token):
            header = struct.pack("!BBBBI", UDP, 2, kind, left, 0) + ip_of(x.c6)
            return x.frame(ipv6(x.a6, x.b6, ROUTING, header + udp(x.a6, x.b6, token)))
        return frame
    def ttl(value, to):
        return lambda token: x.frame(ip(x.a, to, UDP, udp(x.a, to, token), ttl=value))
    inner = lambda token: x.datagram(x.b, x.c, token)  # noqa: E731
    return [
        said("a loose source route", "SOURCE_ROUTE", routed(131), nops),
        said("a strict source route", "SOURCE_ROUTE", routed(137), nops),
        said("an IPv6 routing header of type 0", "SOURCE_ROUTE", routing(0, 1), routing(0, 0)),
        said("an IPv6 segment routing header", "SOURCE_ROUTE", routing(4, 1), routing(4, 0)),
        # Its sender is told, with what it sent.
        said("with TTL 0", "TTL_EXPIRED", ttl(0, x.b), ttl(2, x.b), may_see=(AT_A,)),
        said("with TTL 1", "TTL_EXPIRED", ttl(1, x.b), ttl(2, x.b), may_see=(AT_A,)),
        said("with TTL 1 to another node", "TTL_EXPIRED", ttl(1, x.c), ttl(3, x.c), AT_C, may_see=(AT_A,)),
        said("IPv4 in IPv4", "UNKNOWN_PROTOCOL", lambda token: x.frame(ipv4(x.a, x.b, 4, inner(token)))),
        said("GRE", "UNKNOWN_PROTOCOL", lambda token: x.frame(ipv4(x.a, x.b, GRE, b"\0\0\x08\0" + inner(token)))),
        said("IPv4 of version 5", "BAD_HEADER", lambda token: x.frame(
            ipv4(x.a, x.b, UDP, udp(x.a, x.b, token), version=5), kind=IPV4)),
        said("more than the frame holds", "TRUNCATED", lambda token: x.frame(
            ipv4(x.a, x.b, UDP, udp(x.a, x.b, token + b"x" * 40))[:-20]))]


def ip_of(text):
    from wire import ip_bytes
    return ip_bytes(text)


def fragments(x):
    def pieces(what, reason, make, sent=1):
        return Case(f"a pod sends {what}", reason, frames(make), frames(x.to_neighbour), AT_B)
    syn = lambda token: tcp(5000, 6000, 2, token)  # noqa: E731
    return [
        pieces("a fragment without its first", "FRAGMENT", lambda token: x.frame(
            ipv4(x.a, x.b, UDP, token + b"x" * 8, fragment=185, number=99))),
        pieces("a first fragment too small for its ports", "TRUNCATED", lambda token: x.frame(
            ipv4(x.a, x.b, TCP, syn(token)[:6], fragment=0x2000, number=98) + token)),
        pieces("a first fragment too small for TCP's flags", "TRUNCATED", lambda token: x.frame(
            ipv4(x.a, x.b, TCP, syn(token)[:8], fragment=0x2000, number=97) + token)),
        pieces("a fragment over TCP's flags", "FRAGMENT", lambda token: x.frame(
            ipv4(x.a, x.b, TCP, syn(token)[8:] + token, fragment=1, number=96)))]


# ---- from the underlay


def tunnels(x):
    def from_wire(what, reason, forged, honest=x.by_tunnel):
        return Case(f"from the underlay: {what}", reason, frames(forged), frames(honest), AT_A, sender="out")
    def inner(what, source, to=None, outer=N2, reason="UNKNOWN_TUNNEL_PEER"):
        return from_wire(what, reason, lambda token: x.tunnel(outer, x.datagram(source, to or x.a, token)))
    six = lambda token: x.tunnel(N2, x.datagram(x.c6, x.a6, token))  # noqa: E731
    return [
        inner("a tunnel from no node", x.c, outer=OUTSIDE),
        inner("a tunnel from this node itself", x.c, outer=N1),
        inner("a tunnel from a node, inside a pod of this node", x.b),
        inner("a tunnel from a node, inside the receiver itself", x.a),
        inner("a tunnel from a node, inside this node", N1),
        inner("a tunnel from a node, inside the world", WORLD),
        inner("a tunnel from a node, inside a service", SERVICE),
        inner("a tunnel from a node, inside 127.0.0.1", "127.0.0.1"),
        inner("a tunnel from a node, inside the world, to this node", WORLD, to=N1),
        from_wire("a tunnel from no node, IPv6 inside", "UNKNOWN_TUNNEL_PEER",
                  lambda token: x.tunnel(OUTSIDE, x.datagram(x.c6, x.a6, token)), six),
        from_wire("a tunnel from a node, inside a pod of this node, IPv6", "UNKNOWN_TUNNEL_PEER",
                  lambda token: x.tunnel(N2, x.datagram(x.b6, x.a6, token)), six),
        from_wire("a tunnel of another network", "BAD_HEADER",
                  lambda token: x.tunnel(N2, x.datagram(x.c, x.a, token), network=2)),
        from_wire("a tunnel of no network", "BAD_HEADER",
                  lambda token: x.tunnel(N2, x.datagram(x.c, x.a, token), flags=0)),
        from_wire("a tunnel with ARP inside", "UNKNOWN_PROTOCOL", lambda token: x.tunnel(
            N2, arp(2, x.macs["out"], x.b, x.macs["client-1"], x.a) + token, kind=ARP)),
        from_wire("a tunnel with a VLAN tag inside", "UNKNOWN_PROTOCOL", lambda token: x.tunnel(
            N2, struct.pack("!HH", 5, IPV4) + x.datagram(x.c, x.a, token), kind=VLAN)),
        from_wire("a tunnel with GRE inside", "UNKNOWN_PROTOCOL", lambda token: x.tunnel(
            N2, ipv4(x.c, x.a, GRE, b"\0\0\x08\0" + x.datagram(x.c, x.a, token)))),
        from_wire("a tunnel with a neighbour advertisement inside", "LINK_LOCAL", lambda token: x.tunnel(
            N2, ipv6(x.c6, x.a6, ICMPV6, icmp(x.c6, x.a6, 136, 0, b"\0" * 20 + token), ttl=255)), six)]


def without_tunnel(x):
    def claims(what, packet, reason="UNKNOWN_TUNNEL_PEER", may_see=()):
        return Case(f"from the underlay, no tunnel: {what}", reason, frames(lambda token: x.wire(packet(token))),
                    frames(lambda token: x.wire(x.datagram(OUTSIDE, x.a, token))), AT_A, sender="out", may_see=may_see)
    def source(what, address, to=None, **more):
        return claims(what, lambda token: x.datagram(address, to or x.a, token), **more)
    gre = lambda address: lambda token: ipv4(address, x.a, GRE, b"\0\0\x08\0" + token)  # noqa: E731
    return [
        source("in the name of another node's pod", x.c), source("in the name of this node's pod", x.b),
        source("in the name of the receiver", x.a), source("in this node's name", N1),
        source("in a service's name", SERVICE), source("from 127.0.0.1", "127.0.0.1"),
        source("from 0.0.0.0", "0.0.0.0"), source("from a multicast address", "224.0.0.1"),
        source("in the name of another node's pod, IPv6", x.c6, x.a6), source("in this node's name, IPv6", N1_6, x.a6),
        source("from ::1", "::1", x.a6),
        claims("GRE in the name of another node's pod", gre(x.c), "UNKNOWN_PROTOCOL"),
        claims("GRE in the name of this node's pod", gre(x.b), "UNKNOWN_PROTOCOL"),
        claims("GRE from the world", gre(WORLD), "UNKNOWN_PROTOCOL"),
        claims("a fragment in the name of another node's pod", lambda token: ipv4(
            x.c, x.a, UDP, token + b"x" * 8, fragment=185), "FRAGMENT"),
        # Left to the host's stack, which refuses it (accept_source_route) and counts it itself.
        claims("a source route through this node", lambda token: ipv4(
            OUTSIDE, x.a, UDP, udp(OUTSIDE, x.a, token), options=bytes([131, 7, 4, 127, 0, 0, 1, 0])), "")]
