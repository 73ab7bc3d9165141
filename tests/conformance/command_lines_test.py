#!/usr/bin/env python3
"""The command line of every program: --help, --version, --completion bash, what is wrong in it, exit codes; that help names
every flag, and that nothing has been tried before a wrong one is told.

Usage: command_lines_test.py BIN_FOLDER [unittest's arguments]"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else SOURCE / "build/bin")
MAINS = {"thalwegd": "dataplane/agent/main.cc", "thalweg-dns": "dns/main.cc", "thalweg-ingress": "ingress/main.cc",
         "thalweg-edge": "dataplane/dpdk/main.cc", "thalweg": "dataplane/cli/main.cc", "thalweg-cni": "cni-plugins/main.cc"}
COMMANDS = {"thalweg": ["status", "why"]}
NO_OTHER_FLAGS = {"thalweg-cni"}  # its own are in the environment: no --log-level either
# What a program needs before it does anything; where a flag is wrong none of it may be missed, or tried.
ENOUGH = {"thalwegd": ["--node-name", "n1", "--manifests", "{folder}", "--run-dir", "{folder}/run", "--state-dir", "{folder}/state",
                       "--bpf-dir", "{folder}/bpf"],
          "thalweg-dns": ["--listen", "127.0.0.1:53999", "--manifests", "{folder}", "--metrics", "unix:{folder}/metrics"],
          "thalweg-ingress": ["--manifests", "{folder}", "--http", "127.0.0.1:53998"],
          "thalweg-edge": ["--node-name", "e", "--manifests", "{folder}", "--port-iface", "lo", "--address", "192.0.2.20/24",
                           "--run-dir", "{folder}/run"],
          "thalweg": ["--socket", "{folder}/agent.sock", "status"], "thalweg-cni": []}
# One value each that its flag does not take.
WRONG_VALUES = {"thalwegd": [("--overlay", "geneve"), ("--return-mode", "both"), ("--xdp", "generic"), ("--tunnel-port", "70000"),
                             ("--mtu", "12"), ("--service-cidr", "10.96.0.0/33"), ("--verify-ms", "1"),
                             ("--nodeport-addresses", "everywhere")],
                "thalweg-dns": [("--pods", "some"), ("--listen", "nowhere"), ("--ttl", "-1"), ("--upstream", "1.2.3"),
                                ("--zone", "a..b"), ("--metrics", "here"), ("--api", "http://x")],
                "thalweg-ingress": [("--http", "nowhere"), ("--metrics", "here"), ("--api", "http://x")],
                "thalweg-edge": [("--address", "192.0.2.20/40"), ("--port-mtu", "100"), ("--mac", "02:00"), ("--gateway", "x"),
                                 ("--external-ip-cidr", "10.0.0.0/40")]}
APART = ["unshare", "--net"] if os.geteuid() == 0 else []  # what should be refused and is not must not run on this host
TYPED = {key: value for key, value in os.environ.items() if not key.startswith("CNI_")}


def run(program, *arguments, **environment):
    return subprocess.run([*APART, BIN / program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
                          env=TYPED | environment)


def built():
    return [name for name in MAINS if (BIN / name).exists()]


def flags_of(program):
    """As its --help has them, those of its commands apart."""
    return re.findall(r"(?m)^ {4}(--[a-z-]+)", run(program, "--help").stdout)


class CommandLines(unittest.TestCase):
    def each(self):
        """Every program, with what is enough for it, and an empty folder."""
        for program in built():
            with tempfile.TemporaryDirectory() as folder:
                yield program, [one.format(folder=folder) for one in ENOUGH[program]], pathlib.Path(folder)

    def refused(self, program, arguments, *words):
        """Bad usage, told in lines on stderr that hold these words; nothing else said or done."""
        done = run(program, *arguments)
        self.assertEqual((done.returncode, done.stdout), (2, ""), f"{program} {arguments}: {done.stderr}")
        for word in words:
            self.assertIn(word, done.stderr, f"{program} {arguments}")
        self.assertLessEqual(len(done.stderr.splitlines()), 2, done.stderr)

    def test_all_are_built(self):
        missing = set(MAINS) - set(built()) - {"thalweg-edge"}  # that one needs DPDK
        self.assertFalse(missing)

    def test_help_names_every_flag(self):
        for program, _, _ in self.each():
            done = run(program, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""), program)
            self.assertEqual(run(program, "-h").stdout, done.stdout)
            pages = done.stdout + "".join(run(program, one, "--help").stdout for one in COMMANDS.get(program, []))
            for section in ("NAME", "SYNOPSIS", "OPTIONS", "EXIT STATUS"):
                self.assertIn(f"{section}\n", pages)
            parsed = re.findall(r'"(--[a-z-]+)"', (SOURCE / MAINS[program]).read_text())
            self.assertTrue(parsed)
            for flag in parsed:
                self.assertRegex(pages, rf"(?m)^ +{flag}\b")

    def test_help_is_given_whatever_else_is_there(self):
        for program, _, _ in self.each():
            if program not in NO_OTHER_FLAGS:
                done = run(program, "--no-such-flag", "--help")
                self.assertEqual((done.returncode, done.stderr), (0, ""), program)
                self.assertTrue(done.stdout.startswith("NAME\n"))

    def test_version(self):
        for program, _, _ in self.each():
            done = run(program, "--version")
            self.assertEqual((done.returncode, done.stderr), (0, ""), program)
            self.assertRegex(done.stdout, rf"^{program} \d+\.\d+\S*\n$")

    def test_completion_is_a_script_that_offers_every_flag(self):
        for program, _, _ in self.each():
            done = run(program, "--completion", "bash")
            self.assertEqual((done.returncode, done.stderr), (0, ""), program)
            sourced = subprocess.run(["bash", "-c", f"set -e\n{done.stdout}\ncomplete -p {program}"], capture_output=True, text=True)
            self.assertEqual((sourced.returncode, sourced.stderr), (0, ""))
            for flag in flags_of(program):
                self.assertRegex(done.stdout, rf"{flag}\b")
            self.refused(program, ["--completion", "fish"], "--completion")

    def test_an_unknown_flag_is_told_before_all_else(self):
        for program, enough, folder in self.each():
            for before, after in (([], []), ([], enough), (enough, [])):
                self.refused(program, [*before, "--no-such-flag", *after], f"{program}", "--no-such-flag: unknown flag", "--help")
            self.assertEqual(list(folder.iterdir()), [], f"{program} had begun")

    def test_the_nearest_flag_is_named(self):
        for program, enough, _ in self.each():
            for flag in flags_of(program):
                swapped = flag[:3] + flag[4] + flag[3] + flag[5:]
                if swapped != flag:
                    self.refused(program, [swapped], f"{swapped}: unknown flag; did you mean {flag}?")
            self.refused(program, ["--vresion", *enough], "did you mean --version?")

    def test_an_argument_too_many(self):
        for program, enough, _ in self.each():
            self.refused(program, ["stray", *enough], "stray")

    def test_a_flag_without_its_value(self):
        for program, enough, _ in self.each():
            if program not in NO_OTHER_FLAGS:
                self.refused(program, [*enough, "--log-level"], "--log-level")
                self.refused(program, ["--log-level", "loud", *enough], "--log-level", "loud")

    def test_a_value_its_flag_does_not_take(self):
        for program, enough, folder in self.each():
            for flag, value in WRONG_VALUES.get(program, []):
                rest = [one for at, one in enumerate(enough) if flag not in (one, enough[at - 1] if at else "")]
                if flag == "--api":  # instead of the folder
                    rest = [one for one in rest if one not in ("--manifests", str(folder))]
                self.refused(program, [*rest, flag, value], flag, value)
            self.assertEqual(list(folder.iterdir()), [], f"{program} had begun")

    def test_nothing_given(self):
        for program, _, _ in self.each():
            if program != "thalweg-cni":
                self.refused(program, [], program)

    def test_a_command_in_the_wrong_spelling(self):
        for program, commands in COMMANDS.items():
            for command in commands:
                self.refused(program, [command[0] + "x" + command[1:]], f"did you mean {command}?")
                self.refused(program, [command, "--hlep"], "did you mean --help?")

    def test_a_runtime_still_meets_the_cni_protocol(self):
        done = run("thalweg-cni", "--help", CNI_COMMAND="NOTHING")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('"code"', done.stdout)


if __name__ == "__main__":
    unittest.main()
