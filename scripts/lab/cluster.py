"""The demo cluster: two nodes, an edge and an outside host in network namespaces, brought up as an operator and a
kubelet would.

              lan (a bridge: the underlay, 192.0.2.0/24 and 2001:db8::/64)
       ┌─────────┬──────────────┬──────────────┬────────────┐
      n1 .11    n2 .12        edge .20       out .100
   thalwegd    thalwegd     thalweg-edge    clients, nsd
   thalweg-dns thalweg-dns  203.0.113.80
   thalweg-ingress :80 :443
   web-1       web-2
   client-1    client-2
   stranger-1  api-1

Each pod is a namespace wired by a CNI ADD of the installed plugin; hello.py answers in it on port 8080."""

import json
import os
import shutil
import subprocess
import time

from host import Lab, LabError, cgroup2_root, ip, run, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NODES = {"n1": ("192.0.2.11", "2001:db8::11"), "n2": ("192.0.2.12", "2001:db8::12")}
EDGE, OUTSIDE, OUTSIDE6, INGRESS = "192.0.2.20", "192.0.2.100", "2001:db8::100", "192.0.2.11"
VIP = "203.0.113.80"
DNS_SERVICE = "10.96.0.10"
SERVICE_CIDRS = ("10.96.0.0/16", "fd00:10:96::/112")
PODS = {"web-1": "n1", "client-1": "n1", "stranger-1": "n1", "web-2": "n2", "client-2": "n2", "api-1": "n2"}
CNI_VERSION = "1.1.0"


class Cluster:
    def __init__(self, binaries, prefix="twd", agent_flags=(), say=lambda text: None):
        self.lab = Lab(prefix, f"/run/thalweg-lab/{prefix}")
        self.binaries = binaries
        self.folder = self.lab.folder
        self.manifests = f"{self.folder}/manifests"
        self.say = say
        self.agents = {}
        self.agent_flags = list(agent_flags)
        self.addresses = {}  # pod → its addresses, as CNI ADD answered
        self.add_ms = []     # how long each CNI ADD took

    # ---- up and down ---------------------------------------------------------------------------------------

    def up(self):
        self.lab.clear()
        self.copy_inputs()
        self.say("underlay")
        self.make_underlay()
        self.say("agents")
        for node in NODES:
            self.start_agent(node)
        for node in NODES:
            self.wait_agent(node)
        self.say("pods")
        for pod in PODS:
            self.add_pod(pod)
        self.say("dns, ingress, edge, outside")
        self.start_servers()
        self.wait_servers()

    def down(self):
        self.lab.sweep()

    def copy_inputs(self):
        shutil.copytree(f"{ROOT}/examples/demo/manifests", self.manifests)
        cni_bin = f"{self.folder}/opt/cni/bin"
        os.makedirs(cni_bin)
        shutil.copy2(f"{self.binaries}/thalweg-cni", cni_bin)
        os.link(f"{cni_bin}/thalweg-cni", f"{cni_bin}/loopback")
        os.makedirs(f"{self.folder}/bpf")
        run("mount", "-t", "bpf", "bpf", f"{self.folder}/bpf")
        self.make_secret()
        with open(f"{self.folder}/resolv.conf", "w") as resolv:
            resolv.write(f"search demo.svc.cluster.local svc.cluster.local cluster.local\n"
                         f"nameserver {DNS_SERVICE}\noptions ndots:5\n")

    def make_secret(self):
        """A certificate for shop.example.com, as a Secret of type kubernetes.io/tls that only the ingress reads."""
        folder = f"{self.folder}/secrets"
        os.makedirs(folder, mode=0o700)
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=shop.example.com", "-addext", "subjectAltName=DNS:shop.example.com",
            "-keyout", f"{self.folder}/shop.key", "-out", f"{self.folder}/shop.crt")
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                  "metadata": {"name": "shop-tls", "namespace": "demo"},
                  "stringData": {part: open(f"{self.folder}/shop.{file}").read()
                                 for part, file in (("tls.crt", "crt"), ("tls.key", "key"))}}
        os.unlink(f"{self.folder}/shop.key")
        write(f"{folder}/shop-tls.json", json.dumps(secret), mode=0o600)

    def make_underlay(self):
        lan = self.lab.add_namespace("lan")
        ip("link", "add", "br0", "type", "bridge", ns=lan)
        ip("link", "set", "br0", "up", ns=lan)
        for node, (v4, v6) in NODES.items():
            self.lab.add_namespace(node)
            self.lab.connect(node, "lan", "br0", f"{v4}/24", f"{v6}/64")
        self.lab.add_namespace("out")
        self.lab.connect("out", "lan", "br0", f"{OUTSIDE}/24", f"{OUTSIDE6}/64")
        ip("route", "add", f"{VIP}/32", "via", EDGE, ns=self.lab.name("out"))
        for node in NODES:  # the nodes' way to the world, so that masquerading can be seen
            ip("route", "add", "default", "via", OUTSIDE, ns=self.lab.name(node))
        ip("addr", "add", "198.51.100.1/32", "dev", "lo", ns=self.lab.name("out"))
        # The edge's address belongs to DPDK: the kernel of that namespace has none and stays silent.
        self.lab.add_namespace("edge")
        self.lab.call(["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1"],
                      ns="edge")
        self.lab.connect("edge", "lan", "br0")
        # Nothing here finishes checksums that a veth leaves to hardware, and DPDK reads the frames as they are.
        self.lab.call(["ethtool", "-K", "p-edge", "tx", "off", "rx", "off"], ns="lan")

    def take_xdp(self, node):
        """What a node's uplink sends by XDP arrives only where a program waits at the other end: here, one that lets all pass."""
        programs = f"{self.folder}/bpf/lan"
        if not os.path.exists(programs):
            run("bpftool", "prog", "loadall", f"{self.binaries}/../bpf/bpf_skeleton/bpf/gate.bpf.o", programs)
        self.lab.call(["bpftool", "net", "attach", "xdp", "pinned", f"{programs}/at_uplink", "dev", f"p-{node}"], ns="lan")

    def finish_checksums(self, place):
        """Finished packets, as they come off a wire: a veth by itself passes on what hardware would still finish."""
        self.lab.call(["ethtool", "-K", "eth0", "tx", "off"], ns=place)

    # ---- a node --------------------------------------------------------------------------------------------

    def run_dir(self, node):
        return f"{self.folder}/{node}/run"

    def cgroup(self, node, child="system"):
        path = os.path.join(cgroup2_root(), self.lab.prefix, node, child)
        os.makedirs(path, exist_ok=True)
        return path

    def agent_binary(self):
        return f"{self.binaries}/thalwegd"

    def start_agent(self, node):
        self.cgroup(node)
        command = [self.agent_binary(), "--node-name", node, "--manifests", self.manifests,
                   "--run-dir", self.run_dir(node), "--state-dir", f"{self.folder}/{node}/state",
                   "--bpf-dir", f"{self.folder}/bpf/{node}", "--uplink", "eth0",
                   "--cgroup", os.path.join(cgroup2_root(), self.lab.prefix, node)]
        command += self.agent_flags
        for cidr in SERVICE_CIDRS:
            command += ["--service-cidr", cidr]
        # The agent's own cgroup stands outside the one it attaches its socket hooks to, as kubelet's services do.
        self.agents[node] = self.lab.start(f"thalwegd-{node}", command, ns=node)

    # ---- what it says --------------------------------------------------------------------------------------

    def status(self, node):
        done = self.thalweg(node, "status", "--json")
        try:
            return json.loads(done.stdout)
        except ValueError:
            return None

    def wait_agent(self, node):
        def ready():
            if self.agents[node].poll() is not None:
                raise LabError(f"thalwegd of {node} ended: see {self.folder}/log/thalwegd-{node}")
            return (self.status(node) or {}).get("synced")
        wait_for(f"thalwegd of {node} to be in sync", ready)

    def get(self, node, path):
        return self.lab.call(["curl", "-sS", "--unix-socket", f"{self.run_dir(node)}/agent.sock", f"http://agent/{path}"]).stdout

    def metric(self, node, name):
        """name: with its labels, as it is printed."""
        return next((float(line.split()[-1]) for line in self.get(node, "metrics").splitlines() if line.startswith(f"{name} ")), 0)

    def table(self, node, name):
        """The rows, keys and values as hex."""
        return json.loads(self.get(node, "v1/tables"))["tables"][name]

    def drops(self, node):
        """Packets dropped since the node's tables were made, by reason."""
        return {one["reason"]: one["packets"] for one in (self.status(node) or {}).get("drops", [])}

    def thalweg(self, node, *arguments):
        return self.lab.call([f"{self.binaries}/thalweg", "--socket", f"{self.run_dir(node)}/agent.sock", *arguments])

    # ---- a pod: what the kubelet and its runtime do ------------------------------------------------------------

    def cni(self, verb, pod):
        node = PODS[pod]
        config = {"cniVersion": CNI_VERSION, "name": "thalweg", "type": "thalweg-cni",
                  "agentSocket": f"{self.run_dir(node)}/agent.sock"}
        folder = f"{self.folder}/opt/cni/bin"
        environment = {"CNI_COMMAND": verb, "CNI_CONTAINERID": f"{self.lab.prefix}-{pod}", "CNI_IFNAME": "eth0",
                       "CNI_NETNS": f"/run/netns/{self.lab.name(pod)}", "CNI_PATH": folder, "PATH": "/usr/bin:/bin",
                       "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME={pod}"}
        begun = time.monotonic()
        done = run_plugin([f"{folder}/thalweg-cni"], json.dumps(config), environment)
        return done, (time.monotonic() - begun) * 1000

    def add_pod(self, pod):
        self.lab.add_namespace(pod)
        done, took_ms = self.cni("ADD", pod)
        if done.returncode != 0:
            raise LabError(f"CNI ADD of {pod}: exit {done.returncode}: {done.stdout.strip()} {done.stderr.strip()}")
        self.add_ms.append(took_ms)
        self.addresses[pod] = [one["address"].split("/")[0] for one in json.loads(done.stdout)["ips"]]
        self.report_status(pod)
        self.start_hello(pod)

    def start_hello(self, pod):
        self.lab.start(f"hello-{pod}", ["env", f"NAME={pod}", "python3", f"{ROOT}/examples/demo/hello.py", "8080"],
                       ns=pod, cgroup=self.cgroup(PODS[pod], pod))

    def report_status(self, pod):
        """What the kubelet tells the API server after ADD: here, the pod's manifest with its addresses."""
        addresses = ", ".join(f'{{ip: "{address}"}}' for address in self.addresses[pod])
        self.edit(f"pods/{pod}.yaml", lambda text: f"{text}status:\n  phase: Running\n  podIP: \"{self.addresses[pod][0]}\"\n"
                                                   f"  podIPs: [{addresses}]\n")

    def v4(self, pod):
        return next(address for address in self.addresses[pod] if ":" not in address)

    def v6(self, pod):
        return next(address for address in self.addresses[pod] if ":" in address)

    # ---- the servers on the nodes and around them --------------------------------------------------------------

    def start_servers(self):
        for node, (v4, _) in NODES.items():
            self.lab.start(f"thalweg-dns-{node}",
                           [f"{self.binaries}/thalweg-dns", "--api", f"unix:{self.run_dir(node)}/api.sock",
                            "--listen", f"{v4}:53", "--upstream", OUTSIDE], ns=node, cgroup=self.cgroup(node, "dns"))
        self.lab.start("thalweg-ingress",
                       [f"{self.binaries}/thalweg-ingress", "--api", f"unix:{self.run_dir('n1')}/api.sock",
                        "--secrets", f"{self.folder}/secrets", "--http", f"{INGRESS}:80", "--https", f"{INGRESS}:443"],
                       ns="n1", cgroup=self.cgroup("n1", "ingress"))
        edge = f"{self.binaries}/thalweg-edge"
        if os.path.exists(edge):
            self.lab.start("thalweg-edge",
                           [edge, "--node-name", "edge", "--manifests", self.manifests, "--port-iface", "eth0",
                            "--address", f"{EDGE}/24", "--run-dir", f"{self.folder}/edge"], ns="edge")
        self.start_outside()

    def start_outside(self):
        folder = f"{self.folder}/nsd"
        os.makedirs(folder)
        write(f"{folder}/example.org.zone",
              "$ORIGIN example.org.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\n"
              f"ns A {OUTSIDE}\nwww A 198.51.100.1\nwww AAAA 2001:db8::100\n")
        write(f"{folder}/nsd.conf",
              f'server:\n  ip-address: {OUTSIDE}\n  username: ""\n  zonesdir: "{folder}"\n  database: ""\n'
              f'  pidfile: "{folder}/nsd.pid"\n  xfrdfile: "{folder}/xfrd.state"\n  zonelistfile: "{folder}/zone.list"\n'
              '  server-count: 1\nremote-control:\n  control-enable: no\n'
              'zone:\n  name: example.org\n  zonefile: example.org.zone\n')
        self.lab.start("nsd", ["nsd", "-d", "-c", f"{folder}/nsd.conf"], ns="out")
        self.lab.start("hello-outside", ["env", "NAME=outside", "python3", f"{ROOT}/examples/demo/hello.py", "8080"],
                       ns="out")

    def wait_servers(self):
        for pod in PODS:
            wait_for(f"hello in {pod}", lambda pod=pod: self.curl(pod, "http://127.0.0.1:8080/").returncode == 0)
        for node, (v4, _) in NODES.items():
            wait_for(f"thalweg-dns on {node}", lambda node=node, v4=v4: self.lab.call(
                ["dig", "+short", "+time=1", "+tries=1", f"@{v4}", "web.demo.svc.cluster.local"],
                ns=node).stdout.startswith("10."))
        wait_for("thalweg-ingress", lambda: self.curl("n1", f"http://{INGRESS}/").returncode == 0)

    # ---- the objects -----------------------------------------------------------------------------------------------

    def put(self, name, *objects):
        """Writes the objects, and no others, as the manifest NAME."""
        write(f"{self.manifests}/{name}", "\n---\n".join(json.dumps(one) for one in objects))

    def edit(self, name, change):
        """A manifest's text becomes change(text)."""
        with open(f"{self.manifests}/{name}") as file:
            text = file.read()
        write(f"{self.manifests}/{name}", change(text))

    # ---- clients ------------------------------------------------------------------------------------------------

    def call(self, place, command, **options):
        """Runs a command in a pod (with its cgroup and resolv.conf), on a node, or outside."""
        if place in PODS:
            options.setdefault("cgroup", self.cgroup(PODS[place], place))
            options.setdefault("resolv_conf", f"{self.folder}/resolv.conf")
        elif place in NODES:
            options.setdefault("cgroup", self.cgroup(place))
        return self.lab.call(command, ns=place, **options)

    def curl(self, place, url, *arguments, **options):
        return self.call(place, ["curl", "-sS", "-g", "--max-time", "3", *arguments, url], **options)


class BareCluster(Cluster):
    """The nodes and their pods; no DNS, no ingress, no edge."""

    def start_servers(self):
        pass

    def wait_servers(self):
        pass


def write(path, text, mode=0o644):
    """Writes a file so that a reader sees the old text or the new, never a part."""
    temporary = os.path.join(os.path.dirname(path), "." + os.path.basename(path) + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    os.rename(temporary, path)


def run_plugin(command, config, environment):
    return subprocess.run(command, input=config, env=environment, capture_output=True, text=True, timeout=30)
