"""Frames byte by byte, and the raw sockets that send and watch them inside network namespaces. Used by antispoof.py."""

import os
import select
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/lab"))

from host import CLONE_NEWNET, libc, require  # noqa: E402

IPV4, IPV6, ARP, VLAN, QINQ = 0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8
ICMP, TCP, UDP, ROUTING, GRE, ICMPV6 = 1, 6, 17, 43, 47, 58
BROADCAST = "ff:ff:ff:ff:ff:ff"
ETH_P_ALL, OUTGOING = 3, 4


def mac(text):
    return bytes(int(byte, 16) for byte in text.split(":"))


def ip_bytes(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo(source, to, protocol, length):
    return ip_bytes(source) + ip_bytes(to) + struct.pack("!II", length, protocol)


def eth(to, source, kind, payload):
    return mac(to) + mac(source) + struct.pack("!H", kind) + payload


def ipv4(source, to, protocol, payload, ttl=64, options=b"", fragment=0, number=7, version=4):
    length = 20 + len(options)
    header = struct.pack("!BBHHHBBH4s4s", version << 4 | length // 4, 0, length + len(payload), number, fragment, ttl,
                         protocol, 0, ip_bytes(source), ip_bytes(to)) + options
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def ipv6(source, to, protocol, payload, ttl=64):
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl) + ip_bytes(source) + ip_bytes(to) + payload


def ip(source, to, protocol, payload, **options):
    return (ipv6 if ":" in to else ipv4)(source, to, protocol, payload, **options)


def udp(source, to, payload, from_port=5000, to_port=6000):
    segment = struct.pack("!HHHH", from_port, to_port, 8 + len(payload), 0) + payload
    sum_ = checksum(pseudo(source, to, UDP, len(segment)) + segment) or 0xFFFF
    return segment[:6] + struct.pack("!H", sum_) + segment[8:]


def tcp(from_port, to_port, flags, payload):
    return struct.pack("!HHIIBBHHH", from_port, to_port, 1, 0, 0x50, flags, 65535, 0, 0) + payload


def icmp(source, to, kind, code, body):
    message = struct.pack("!BBH", kind, code, 0) + body
    cover = pseudo(source, to, ICMPV6, len(message)) if ":" in to else b""
    return message[:2] + struct.pack("!H", checksum(cover + message)) + message[4:]


def arp(kind, sender_mac, sender, target_mac, target):
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, kind) + mac(sender_mac) + ip_bytes(sender) + mac(target_mac) + ip_bytes(target)


def vxlan(network, frame, flags=8):
    return struct.pack("!BBBBI", flags, 0, 0, 0, network << 8) + frame


# ---- sockets in namespaces


def within(namespace, make):
    """What make() returns, made inside the namespace; sockets stay there."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        require(libc.setns(there, CLONE_NEWNET), f"enter {namespace}")
        return make()
    finally:
        require(libc.setns(home, CLONE_NEWNET), "come home")
        os.close(home)
        os.close(there)


def sender(namespace, interface):
    def make():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        raw.bind((interface, 0))
        return raw
    return within(namespace, make)


class Watch:
    """Sees every frame on every interface of some namespaces, and what the host's stack of others was given."""

    def __init__(self):
        self.taps = {}  # socket → (place, whether it is the stack's)

    def frames(self, place, namespace):
        tap = within(namespace, lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)))
        self.taps[tap] = (place, False)

    def stack(self, place, namespace):
        def make():
            return [socket.socket(family, socket.SOCK_RAW, protocol)
                    for family, icmp_ in ((socket.AF_INET, ICMP), (socket.AF_INET6, ICMPV6))
                    for protocol in (icmp_, TCP, UDP, GRE)]
        for tap in within(namespace, make):
            self.taps[tap] = (place, True)

    def close(self):
        for tap in self.taps:
            tap.close()

    def drain(self):
        while ready := select.select(list(self.taps), [], [], 0)[0]:
            for tap in ready:
                tap.recvfrom(65535)

    def look(self, tokens, enough, most_s=2.0):
        """Where frames holding one of the tokens are seen, until enough(sightings): token → set of sightings."""
        seen = {token: set() for token in tokens}
        deadline = time.monotonic() + most_s
        while not enough(seen) and time.monotonic() < deadline:
            for tap in select.select(list(self.taps), [], [], 0.05)[0]:
                data, where = tap.recvfrom(65535)
                place, is_stack = self.taps[tap]
                how = f"{place} stack" if is_stack else f"{place} {where[0]} {'out' if where[2] == OUTGOING else 'in'}"
                for token in tokens:
                    if token in data:
                        seen[token].add(how)
        return seen
