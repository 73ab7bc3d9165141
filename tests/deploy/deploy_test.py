#!/usr/bin/env python3
"""deploy/: what it installs and removes, its units, and that its RBAC names exactly the kinds each program reads."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(sys.argv.pop(1))
BIN = pathlib.Path(sys.argv.pop(1))
DEPLOY = SOURCE / "deploy"
READS = {"thalweg-dns": "dns/main.cc", "thalweg-ingress": "ingress/main.cc", "thalweg-edge": "dataplane/dpdk/edge.cc"}


def install(*arguments):
    return subprocess.run([DEPLOY / "install", *arguments], capture_output=True, text=True)


def files(root):
    return {str(path.relative_to(root)) for path in pathlib.Path(root).rglob("*") if path.is_file()}


def kinds():
    """{"Pod": "pods", …} of kube::THALWEG_KINDS."""
    text = (SOURCE / "kube/object.h").read_text()
    return dict(re.findall(r'KIND\((\w+), "(\w+)",', text))


def read_by(program):
    every = kinds()
    if program == "thalwegd":
        return {plural for kind, plural in every.items() if kind != "Secret"}
    return {every[kind] for kind in re.findall(r"kinds\W[^;]*?((?:kube::)?Kind::\w+[^;]*);",
                                               (SOURCE / READS[program]).read_text())
            for kind in re.findall(r"Kind::(\w+)", kind)}


def granted():
    """{program: {resource, …}}, and every verb granted to anybody."""
    roles, verbs = {}, set()
    for document in (DEPLOY / "rbac.yaml").read_text().split("\n---\n"):
        if "kind: ClusterRole\n" not in document:
            continue
        name = re.search(r"name: ([\w-]+)", document)[1]
        lists = {key: [word for row in re.findall(key + r": \[(.*)\]", document) for word in row.split(", ")]
                 for key in ("resources", "verbs")}
        roles[name] = set(lists["resources"])
        verbs |= set(lists["verbs"])
    return roles, verbs


class Rbac(unittest.TestCase):
    def test_each_program_may_read_what_it_reads(self):
        roles, _ = granted()
        self.assertEqual(set(roles), {"thalwegd", *READS})
        for program, resources in roles.items():
            want = read_by(program)
            if program in ("thalweg-edge", "thalweg-ingress"):
                want.discard("pods")  # read only from manifests
            self.assertEqual(resources, want, program)

    def test_nothing_is_written_and_secrets_are_the_ingresss(self):
        roles, verbs = granted()
        self.assertEqual(verbs, {"list", "watch"})
        self.assertEqual([name for name, resources in roles.items() if "secrets" in resources], ["thalweg-ingress"])


class Install(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="thalweg-deploy-")
        self.addCleanup(folder.cleanup)
        self.bin, self.root = pathlib.Path(folder.name) / "bin", pathlib.Path(folder.name) / "root"
        self.bin.mkdir()
        self.root.mkdir()
        for name in ("thalwegd", "thalweg-dns", "thalweg-ingress", "thalweg-edge", "thalweg", "thalweg-cni"):
            (self.bin / name).write_text("#!/bin/sh\n")
            (self.bin / name).chmod(0o755)

    def run_it(self, *more):
        return install("--root", str(self.root), "--bin", str(self.bin), *more)

    def test_installs_twice_and_removes_what_it_installed_only(self):
        (self.root / "opt/cni/bin").mkdir(parents=True)
        (self.root / "opt/cni/bin/loopback").write_text("another's")
        for _ in range(2):
            done = self.run_it()
            self.assertEqual(done.returncode, 0, done.stderr)
        installed = files(self.root)
        self.assertIn("usr/local/bin/thalwegd", installed)
        self.assertIn("opt/cni/bin/thalweg-cni", installed)
        self.assertIn("etc/cni/net.d/10-thalweg.conflist", installed)
        self.assertEqual(len([name for name in installed if name.endswith(".service")]), 4)
        self.assertFalse([name for name in installed if name.endswith(".new")])
        for _ in range(2):
            self.assertEqual(self.run_it("--remove").returncode, 0)
        self.assertEqual(files(self.root), {"opt/cni/bin/loopback"})

    def test_refuses_without_what_it_needs_and_leaves_nothing(self):
        (self.bin / "thalweg-cni").unlink()
        done = self.run_it()
        self.assertEqual(done.returncode, 1)
        self.assertIn("thalweg-cni", done.stderr)
        self.assertEqual(files(self.root), set())
        self.assertEqual(install("--wrong").returncode, 2)


class Units(unittest.TestCase):
    def test_flags_are_ones_the_program_knows(self):
        for unit in DEPLOY.glob("systemd/*.service"):
            program = BIN / unit.stem
            if not program.exists():
                self.skipTest(f"{program} is not built")
            text = subprocess.run([program, "--help"], capture_output=True, text=True).stdout
            for flag in re.findall(r"--[a-z-]+", re.search(r"ExecStart=(.*)", unit.read_text())[1]):
                self.assertIn(f"    {flag}", text, unit.name)

    def test_systemd_accepts_them(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("no systemd-analyze here")
        with tempfile.TemporaryDirectory() as folder:
            for unit in DEPLOY.glob("systemd/*.service"):
                text = re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", unit.read_text())
                (pathlib.Path(folder) / unit.name).write_text(text)
            units = sorted(str(path) for path in pathlib.Path(folder).iterdir())
            done = subprocess.run(["systemd-analyze", "verify", "--recursive-errors=no", *units],
                                  capture_output=True, text=True)
            ours = [line for line in done.stderr.splitlines() if "thalweg" in line]
            self.assertEqual((done.returncode, ours), (0, []))


if __name__ == "__main__":
    unittest.main()
