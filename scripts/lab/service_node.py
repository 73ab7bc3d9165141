"""A node with its own thalwegd over a made cluster of many Services, for `scripts/bench services`.

The API server is tests/bench/cluster_server; nothing else is on the node but two pods, when they are asked for."""

import glob
import http.client
import json
import os
import socket
import time

from cluster import CNI_VERSION, run_plugin
from host import LabError, cgroup2_root, ip, run, wait_for

# What else the machine does is not to be measured; the two still have to share its CPUs with each other.
UNDISTURBED = ("chrt", "--rr", "1")
SERVICE_CIDR = "10.96.0.0/12"


def cluster_ip(number):
    """As tests/bench/made_cluster.cc gives them out."""
    number += 1
    return f"10.{96 + number // 65536}.{number // 256 % 256}.{number % 256}"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class ServiceNode:
    """One node of its own: namespaces PREFIX-NAME (the node), PREFIX-NAME-lan (what its uplink leads to)."""

    def __init__(self, lab, binaries, name, services, endpoints):
        self.lab, self.binaries, self.name = lab, binaries, name
        self.services, self.endpoints = services, endpoints
        self.folder = f"{lab.folder}/{name}"
        self.agent = self.server = None

    # ---- up

    def prepare(self):
        """The namespaces and the API server; no agent yet."""
        os.makedirs(f"{self.folder}/bpf")
        run("mount", "-t", "bpf", "bpf", f"{self.folder}/bpf")
        self.lab.add_namespace(self.name)
        self.lab.add_namespace(f"{self.name}-lan")
        ip("link", "add", "eth0", "netns", self.lab.name(self.name), "type", "veth", "peer", "name", "eth0",
           "netns", self.lab.name(f"{self.name}-lan"))
        ip("addr", "add", "192.0.2.11/24", "dev", "eth0", ns=self.lab.name(self.name))
        for ns in (self.name, f"{self.name}-lan"):
            ip("link", "set", "eth0", "up", ns=self.lab.name(ns))
        self.server = self.lab.start(f"cluster_server-{self.name}", [
            *UNDISTURBED, f"{self.binaries}/../bench/cluster_server", f"{self.folder}/api.sock", str(self.services),
            str(self.endpoints)], piped=True)
        self.answer()
        return self

    def start_agent(self, *flags):
        """Starts thalwegd and waits until every table is as the objects say; the seconds that took."""
        begun = time.monotonic()
        command = [*UNDISTURBED, f"{self.binaries}/thalwegd", "--node-name", "n1", "--api", f"unix:{self.folder}/api.sock",
                   "--run-dir", f"{self.folder}/run", "--state-dir", f"{self.folder}/state",
                   "--bpf-dir", f"{self.folder}/bpf/n", "--uplink", "eth0", "--service-cidr", SERVICE_CIDR, *flags]
        if cgroup2_root():
            command += ["--cgroup", self.cgroup()]
        self.agent = self.lab.start(f"thalwegd-{self.name}", command, ns=self.name)
        wait_for(f"thalwegd over {self.services} Services to be in sync", self.synced, timeout_s=120, every_s=0.02)
        return time.monotonic() - begun

    def stop_agent(self):
        self.lab.stop(self.agent, wait_s=60)

    def down(self):
        """Both programs and the tables; the namespaces stay until the lab is swept."""
        self.stop_agent()
        self.lab.stop(self.server)
        run("umount", "-l", f"{self.folder}/bpf")

    def cgroup(self, child=""):
        path = os.path.join(cgroup2_root(), self.lab.prefix, self.name, child)
        os.makedirs(path, exist_ok=True)
        return path

    def add_pod(self, name):
        """Wires the Pod bench/NAME into a namespace of its own by a CNI ADD; its IPv4 address."""
        self.lab.add_namespace(f"{self.name}-{name}")
        config = {"cniVersion": CNI_VERSION, "name": "thalweg", "type": "thalweg-cni",
                  "agentSocket": f"{self.folder}/run/agent.sock"}
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": f"{self.name}-{name}", "CNI_IFNAME": "eth0",
                       "CNI_NETNS": f"/run/netns/{self.netns(name)}", "CNI_PATH": self.binaries, "PATH": "/usr/bin:/bin",
                       "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=bench;K8S_POD_NAME={name}"}
        done = run_plugin([f"{self.binaries}/thalweg-cni"], json.dumps(config), environment)
        if done.returncode != 0:
            raise LabError(f"CNI ADD of {name}: {done.stdout.strip()} {done.stderr.strip()}")
        addresses = [one["address"].split("/")[0] for one in json.loads(done.stdout)["ips"]]
        return next(address for address in addresses if ":" not in address)

    def netns(self, pod):
        return self.lab.name(f"{self.name}-{pod}")

    # ---- what it says

    def answer(self):
        line = self.server.stdout.readline()
        if not line:
            raise LabError(f"cluster_server ended: see {self.lab.folder}/log/cluster_server-{self.name}")
        return json.loads(line)

    def command(self, text):
        self.server.stdin.write(text + "\n")
        self.server.stdin.flush()
        return self.answer()

    def changes(self, count):
        """Milliseconds each of count endpoint changes took from the event to the kernel's tables."""
        (tables,) = glob.glob(f"{self.folder}/bpf/n/sets/*/tables")
        return self.command(f"change {count} {tables}")["ms"]

    def status(self):
        connection = UnixConnection(f"{self.folder}/run/agent.sock")
        try:
            connection.request("GET", "/v1/status")
            return json.loads(connection.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def synced(self):
        if self.agent.poll() is not None:
            raise LabError(f"thalwegd ended: see {self.lab.folder}/log/thalwegd-{self.name}")
        return (self.status() or {}).get("synced")

    def agent_cpu_s(self):
        with open(f"/proc/{self.agent.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def agent_memory_mb(self, which="VmRSS"):
        with open(f"/proc/{self.agent.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(which)) / 1024
