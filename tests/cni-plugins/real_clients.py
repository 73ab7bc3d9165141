#!/usr/bin/env python3
"""podman and containerd's ctr drive the built plugins: run, publish a port, two networks, stop, restart, remove, and nothing is
left. Usage: real_clients.py --bin BUILD/cni-bin [podman] [ctr]

Everything happens in a network namespace and a mount namespace of this test's own, on a root of busybox that it makes: no image
is pulled, nothing of the host's podman or containerd is seen or touched."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/lab"))

from host import CLONE_NEWNET, CLONE_NEWNS, MS_PRIVATE, MS_REC, LabError, libc, require, run  # noqa: E402

SKIPPED = 77
CLONE_NEWPID = 0x20000000
HOST = "twt-clients"
FOLDER = "/run/twt-clients"
NETWORKS = {"tw1": "10.231.1", "tw2": "10.231.2"}
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["{folder}/bin"]
network_config_dir = "{folder}/net.d"
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "none"
"""


def conflist(name, prefix):
    return {"cniVersion": "1.0.0", "name": name, "plugins": [
        {"type": "bridge", "bridge": f"{name}br", "isGateway": True, "ipMasq": True, "hairpinMode": True,
         "ipam": {"type": "host-local", "ranges": [[{"subnet": f"{prefix}.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "portmap", "capabilities": {"portMappings": True}}, {"type": "firewall"}, {"type": "tuning", "mtu": 1400}]}


class Checks:
    def __init__(self):
        self.failed = 0

    def that(self, holds, what):
        print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
        self.failed += not holds


def soon(question, seconds=5):
    """The first answer that is true, or the last."""
    until = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < until:
        time.sleep(0.05)
    return answer


# ---- a place of our own

def move_in():
    """This process, and all that it starts, has its own links, mounts, and folders of state."""
    run("ip", "netns", "del", HOST, check=False)
    run("ip", "netns", "add", HOST)
    fd = os.open(f"/run/netns/{HOST}", os.O_RDONLY)
    require(libc.setns(fd, CLONE_NEWNET), "enter the namespace")
    os.close(fd)
    require(libc.unshare(CLONE_NEWNS), "unshare mounts")
    require(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
    run("ip", "link", "set", "lo", "up")
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.makedirs(FOLDER)
    for own in ("/var/lib/cni", "/etc/cni", "/opt/cni", "/run/cni"):
        os.makedirs(own, exist_ok=True)
        run("mount", "-t", "tmpfs", "none", own)


def in_child(work):
    """The exit code of work, done in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = work()
        except Exception as error:  # said here: nobody sees it otherwise
            print(f"FAIL {error}", flush=True)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_our_place(work):
    """As the first process of a namespace of processes: whatever it starts ends with it."""
    move_in()
    require(libc.unshare(CLONE_NEWPID), "unshare processes")

    def first():
        require(libc.mount(b"proc", b"/proc", b"proc", 0, None), "mount /proc")
        return work()
    return in_child(first)


def install_plugins(source, to):
    """As an installer does: one file, and a hard link to it for each name."""
    os.makedirs(to, exist_ok=True)
    names = sorted(os.listdir(source))
    shutil.copy2(f"{source}/thalweg-cni", f"{to}/thalweg-cni")
    for name in names:
        if name != "thalweg-cni":
            os.link(f"{to}/thalweg-cni", f"{to}/{name}")


def make_root():
    root = f"{FOLDER}/root"
    for folder in ("bin", "dev", "proc", "sys", "etc", "tmp", "run", "www"):
        os.makedirs(f"{root}/{folder}")
    shutil.copy2("/usr/bin/busybox" if os.path.exists("/usr/bin/busybox") else "/bin/busybox", f"{root}/bin/busybox")
    for applet in ("sh", "httpd", "ip", "ping", "wget", "sleep", "cat"):
        os.symlink("busybox", f"{root}/bin/{applet}")
    with open(f"{root}/www/index.html", "w") as page:
        page.write("hello from a container\n")
    return root


def fetch(address):
    done = run("curl", "-s", "-m", "2", f"http://{address}/", check=False)
    return done.stdout.strip() == "hello from a container"


def host_links():
    return {link["ifname"] for link in json.loads(run("ip", "-j", "link").stdout)}


def addresses_given(network):
    folder = f"/var/lib/cni/networks/{network}"
    return [name for name in (os.listdir(folder) if os.path.isdir(folder) else []) if name[0].isdigit()]


def rules_of_containers():
    done = run("nft", "list", "ruleset", check=False).stdout
    return [line.strip() for line in done.splitlines() if 'comment "tw' in line]


def nothing_left(checks, who):
    checks.that(not [name for network in NETWORKS for name in addresses_given(network)], f"{who}: every address is given back")
    checks.that(not [link for link in host_links() if link.startswith("veth")], f"{who}: no link is left")
    checks.that(not rules_of_containers(), f"{who}: no rule is left")
    tuned = "/run/cni/tuning"
    checks.that(not (os.path.isdir(tuned) and os.listdir(tuned)), f"{who}: no setting waits to be set back")


# ---- podman

class Podman:
    def __init__(self, root):
        self.root = root
        self.environment = {**os.environ, "CONTAINERS_CONF": f"{FOLDER}/containers.conf", "TMPDIR": f"{FOLDER}"}
        with open(f"{FOLDER}/containers.conf", "w") as conf:
            conf.write(CONTAINERS_CONF.format(folder=FOLDER))
        os.makedirs(f"{FOLDER}/net.d")
        for name, prefix in NETWORKS.items():
            with open(f"{FOLDER}/net.d/{name}.conflist", "w") as file:
                json.dump(conflist(name, prefix), file)

    def __call__(self, *arguments, check=True):
        done = subprocess.run(["podman", "--root", f"{FOLDER}/storage", "--runroot", f"{FOLDER}/run", "--tmpdir", f"{FOLDER}/tmp",
                               "--storage-driver", "vfs", *arguments], env=self.environment, capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise LabError(f"podman {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def run(self, name, *options):
        self("run", "-d", "--name", name, *options, "--rootfs", self.root, "/bin/httpd", "-f", "-p", "80", "-h", "/www")

    def address(self, name, network):
        networks = json.loads(self("inspect", name))[0]["NetworkSettings"]["Networks"]
        return networks[network]["IPAddress"]


def with_podman(checks, root):
    podman = Podman(root)
    podman.run("web", "--network", "tw1", "-p", "8081:80")
    first = podman.address("web", "tw1")
    checks.that(first.startswith("10.231.1."), "podman: a container has an address of its network")
    checks.that(soon(lambda: fetch(first)), "podman: it answers at its address")
    checks.that(fetch("127.0.0.1:8081"), "podman: a published port answers on the loopback")
    checks.that(fetch("10.231.1.1:8081"), "podman: … and at the host's address")
    checks.that("mtu 1400" in podman("exec", "web", "ip", "link", "show", "eth0"), "podman: its interface is tuned")
    podman.run("both", "--network", "tw1,tw2")
    checks.that(podman.address("both", "tw2").startswith("10.231.2."), "podman: a container in two networks")
    checks.that(podman("exec", "both", "ip", "-4", "-o", "addr").count("inet 10.231.") == 2, "podman: … has both addresses")
    checks.that("bytes from" in podman("exec", "both", "ping", "-c1", "-W2", first, check=False), "podman: containers reach each other")
    checks.that(soon(lambda: podman("exec", "both", "wget", "-q", "-O-", f"http://{first}/", check=False).startswith("hello")),
                "podman: … also by TCP")
    podman("stop", "-t", "0", "web")
    checks.that(not fetch("127.0.0.1:8081"), "podman: a stopped one's port is closed")
    checks.that(len(addresses_given("tw1")) == 1, "podman: … its address is given back")
    podman("start", "web")
    checks.that(soon(lambda: fetch("127.0.0.1:8081")), "podman: started again, it answers")
    podman("restart", "-t", "0", "web")
    checks.that(soon(lambda: fetch("127.0.0.1:8081")), "podman: restarted, it answers")
    podman("network", "disconnect", "tw2", "both")
    checks.that(not addresses_given("tw2"), "podman: disconnected from one of two networks")
    podman("network", "connect", "tw2", "both")
    checks.that(len(addresses_given("tw2")) == 1, "podman: … and connected again")
    podman("rm", "-f", "-t", "0", "web", "both")
    nothing_left(checks, "podman")


# ---- containerd

class Containerd:
    def __init__(self):
        self.folder = f"{FOLDER}/containerd"
        os.makedirs(self.folder)
        with open(f"{self.folder}/config.toml", "w") as config:
            config.write(f'version = 2\nroot = "{self.folder}/root"\nstate = "{self.folder}/state"\n'
                         f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.folder}/sock"\n')
        self.process = subprocess.Popen(["containerd", "-c", f"{self.folder}/config.toml"], stdout=subprocess.DEVNULL,
                                        stderr=open(f"{self.folder}/log", "w"))
        if not soon(lambda: os.path.exists(f"{self.folder}/sock") and self("version", check=False), 20):
            raise LabError("containerd does not start: " + open(f"{self.folder}/log").read()[-400:])

    def __call__(self, *arguments, check=True):
        done = subprocess.run(["ctr", "-a", f"{self.folder}/sock", *arguments], capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise LabError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def with_ctr(checks, root):
    os.makedirs("/etc/cni/net.d", exist_ok=True)
    os.makedirs("/opt/cni/bin", exist_ok=True)
    for name in os.listdir(f"{FOLDER}/bin"):
        os.link(f"{FOLDER}/bin/{name}", f"/opt/cni/bin/{name}") if os.stat(FOLDER).st_dev == os.stat("/opt/cni").st_dev else \
            shutil.copy2(f"{FOLDER}/bin/{name}", f"/opt/cni/bin/{name}")
    with open("/etc/cni/net.d/10-tw1.conflist", "w") as file:
        json.dump(conflist("tw1", NETWORKS["tw1"]), file)
    ctr = Containerd()
    try:
        out = ctr("run", "--rm", "--cni", "--rootfs", root, "once", "/bin/ip", "-4", "-o", "addr", "show", "eth0")
        checks.that("10.231.1." in out, "ctr: a container has an address of the network")
        nothing_left(checks, "ctr, the container ended by itself")
        ctr("run", "-d", "--cni", "--rootfs", root, "web", "/bin/httpd", "-f", "-p", "80", "-h", "/www")
        given = addresses_given("tw1")
        checks.that(len(given) == 1 and soon(lambda: fetch(given[0])), "ctr: one that stays answers at its address")
        ctr("task", "kill", "-s", "9", "web")
        soon(lambda: "STOPPED" in ctr("task", "ls"))
        ctr("task", "rm", "web")
        ctr("container", "rm", "web")
    finally:
        ctr.stop()


def check_all(plugins, clients):
    checks = Checks()
    install_plugins(plugins, f"{FOLDER}/bin")
    root = make_root()
    for client in clients:
        CLIENTS[client](checks, root)
    return 1 if checks.failed else 0


CLIENTS = {"podman": with_podman, "ctr": with_ctr}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True, help="the folder of the built plugins")
    parser.add_argument("client", nargs="*", metavar="CLIENT", help=f"of {', '.join(CLIENTS)} (default: all)")
    options = parser.parse_args()
    for client in set(options.client) - set(CLIENTS):
        parser.error(f"{client}: there are {', '.join(CLIENTS)}")
    if os.geteuid() != 0:
        print("SKIP: needs root")
        return SKIPPED
    wanted = options.client or list(CLIENTS)
    missing = [tool for tool in ("podman", "ctr", "runc", "curl", "nft", "busybox") if not shutil.which(tool)]
    if missing:
        print(f"SKIP: not installed: {', '.join(missing)} (scripts/setup installs them)")
        return SKIPPED
    try:
        return in_child(lambda: in_our_place(lambda: check_all(options.bin, wanted)))
    finally:
        run("ip", "netns", "del", HOST, check=False)
        shutil.rmtree(FOLDER, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
