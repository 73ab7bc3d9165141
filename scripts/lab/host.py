"""Network namespaces, processes and folders of a lab, all under one prefix so that one sweep removes every trace.

Used by cluster.py, kernel_vxlan.py and services.py; knows nothing of Kubernetes."""

import ctypes
import os
import signal
import subprocess
import time

CLONE_NEWNET = 0x40000000
CLONE_NEWNS = 0x00020000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    pass


def run(*command, check=True, timeout=30, stdin=None):
    """Runs a command to its end; returns its CompletedProcess with text output."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done


def ip(*arguments, ns=None, check=True):
    return run("ip", *(["-n", ns] if ns else []), *arguments, check=check)


def require(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def enter(ns, cgroup=None, resolv_conf=None):
    """In a child before exec: joins a namespace, a cgroup, and sees its own /etc/resolv.conf.

    Not `ip netns exec`, which remounts /sys and so hides bpffs and the cgroup tree."""
    if cgroup:
        with open(os.path.join(cgroup, "cgroup.procs"), "w") as procs:
            procs.write("0")
    if ns:
        fd = os.open(f"/run/netns/{ns}", os.O_RDONLY)
        require(libc.setns(fd, CLONE_NEWNET), f"enter {ns}")
        os.close(fd)
    if resolv_conf:
        require(libc.unshare(CLONE_NEWNS), "unshare mounts")
        require(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
        target = os.path.realpath("/etc/resolv.conf").encode()
        require(libc.mount(resolv_conf.encode(), target, None, MS_BIND, None), "bind resolv.conf")


class Lab:
    """One lab: everything it makes bears its prefix and lives under its folder."""

    def __init__(self, prefix, folder):
        self.prefix, self.folder = prefix, folder
        self.processes = []

    def name(self, ns):
        return f"{self.prefix}-{ns}"

    def add_namespace(self, ns):
        ip("netns", "add", self.name(ns))
        ip("link", "set", "lo", "up", ns=self.name(ns))
        return self.name(ns)

    def connect(self, ns, bridge_ns, bridge, *addresses, ifname="eth0"):
        """A veth from ns to a bridge in bridge_ns, with addresses (no duplicate address detection)."""
        port = f"p-{ns}"[:15]
        ip("link", "add", port, "netns", self.name(bridge_ns), "type", "veth",
           "peer", "name", ifname, "netns", self.name(ns))
        ip("link", "set", port, "master", bridge, "up", ns=self.name(bridge_ns))
        ip("link", "set", ifname, "up", ns=self.name(ns))
        for address in addresses:
            ip("addr", "add", address, "dev", ifname, *(["nodad"] if ":" in address else []), ns=self.name(ns))

    def start(self, name, command, ns=None, cgroup=None, resolv_conf=None, piped=False):
        """Starts a program in the background; its output goes to FOLDER/log/NAME. piped: stdin and stdout are ours."""
        os.makedirs(f"{self.folder}/log", exist_ok=True)
        log = open(f"{self.folder}/log/{name}", "ab")
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE if piped else subprocess.DEVNULL, stdout=subprocess.PIPE if piped else log,
            stderr=log, text=piped, start_new_session=True,
            preexec_fn=lambda: enter(ns and self.name(ns), cgroup, resolv_conf))
        log.close()
        process.lab_name = name
        self.processes.append(process)
        with open(f"{self.folder}/pids", "a") as pids:
            pids.write(f"{process.pid} {start_time(process.pid)}\n")
        return process

    def call(self, command, ns=None, cgroup=None, resolv_conf=None, timeout=15, text=True, stdin=None):
        """Runs a command to its end inside the lab; never raises for its exit code or for a time-out (exit 124)."""
        try:
            given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
            return subprocess.run(
                command, **given, capture_output=True, text=text, timeout=timeout,
                preexec_fn=lambda: enter(ns and self.name(ns), cgroup, resolv_conf))
        except subprocess.TimeoutExpired as late:
            return subprocess.CompletedProcess(command, 124, late.stdout or "", late.stderr or "")

    def stop(self, process, how=signal.SIGTERM, wait_s=5):
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(wait_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process in self.processes:
            self.processes.remove(process)

    def clear(self):
        """Begins from nothing, whatever an earlier run left."""
        self.sweep()
        os.makedirs(self.folder)

    def sweep(self):
        """Removes every trace of this lab, also one left by a run that was killed."""
        for process in list(self.processes):
            self.stop(process)
        kill_recorded(f"{self.folder}/pids")
        for ns in os.listdir("/run/netns") if os.path.isdir("/run/netns") else []:
            if ns.startswith(self.prefix + "-"):
                ip("netns", "del", ns, check=False)
        for mount in reversed(mounts_under(self.folder)):
            run("umount", "-l", mount, check=False)
        remove_cgroups(self.prefix)
        run("rm", "-rf", "--one-file-system", self.folder)


def start_time(pid):
    """Field 22 of /proc/PID/stat: with the pid it names one process for good."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        return "gone"


def kill_recorded(path):
    """Ends what an earlier run started: only processes whose pid and start time are both on record."""
    if not os.path.exists(path):
        return
    with open(path) as pids:
        recorded = [line.split() for line in pids if len(line.split()) == 2]
    for pid, started in recorded:
        if started != "gone" and start_time(pid) == started:
            os.kill(int(pid), signal.SIGKILL)


def mounts_under(folder):
    with open("/proc/self/mounts") as mounts:
        points = [line.split()[1] for line in mounts]
    return [point for point in points if point.startswith(folder + "/")]


def cgroup2_root():
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[2] == "cgroup2":
                return fields[1]
    return None


def remove_cgroups(prefix):
    root = cgroup2_root()
    top = root and os.path.join(root, prefix)
    if top and os.path.isdir(top):
        for folder, _, _ in os.walk(top, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                pass  # a process is still leaving it; the next sweep takes it


def wait_for(what, true, timeout_s=15, every_s=0.05):
    """Waits until true() holds; says what was awaited when it does not come."""
    deadline = time.monotonic() + timeout_s
    while True:
        answer = true()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout_s} s for {what}")
        time.sleep(every_s)
