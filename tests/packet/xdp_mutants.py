#!/usr/bin/env python3
"""Seeded mutants of the uplink's XDP program: breaks copies of bpf/xdp.bpf.c and its port in the ways the file
`xdp_mutants` lists, one at a time, and runs xdp_test on each in the kernel. As mutants.py does for the path.

Usage: xdp_mutants.py --source ROOT --test packet_test --compiler CLANG --arch LIBRARY_ARCHITECTURE [--only TEXT]"""

import argparse
import os
import subprocess
import sys
import tempfile

from mutants import Mutant, read_mutants

FLAGS = ["-O2", "-g", "-target", "bpf", "-mcpu=v3"]


class XdpMutant(Mutant):
    folder = "bpf"


def compiled(options, mutant, folder):
    """The object file, broken by the mutant; and why there is none."""
    why = mutant.write(options.source, folder) if mutant else ""
    program = f"{folder}/bpf/xdp.bpf.c"
    if not os.path.exists(program):
        program = f"{options.source}/bpf/xdp.bpf.c"
    command = [options.compiler, *FLAGS, "-I", folder, "-I", options.source, "-idirafter", f"/usr/include/{options.arch}",
               "-c", program, "-o", f"{folder}/xdp.bpf.o"]
    if not why:
        done = subprocess.run(command, capture_output=True, text=True)
        why = "" if done.returncode == 0 else f"it does not compile: {done.stderr.strip()}"
    return f"{folder}/xdp.bpf.o", why


def judge(options, mutant):
    """Why there is no verdict, and the tests that fail."""
    with tempfile.TemporaryDirectory(prefix="thalweg-xdp-mutant-") as folder:
        path, why = compiled(options, mutant, folder)
        if why:
            return why, []
        done = subprocess.run([options.test, "--gtest_filter=Xdp.*:XdpLeaves.*"], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "THALWEG_XDP_OBJECT": path})
    lines = done.stdout.splitlines()
    if not any("[       OK ]" in line or "[  FAILED  ]" in line for line in lines):
        return f"nothing ran: {(lines + [done.stderr])[-1]}", []
    return "", [line.split()[3] for line in lines if line.startswith("[  FAILED  ]") and "(" in line]


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--source", required=True)
    flags.add_argument("--test", required=True)
    flags.add_argument("--compiler", required=True)
    flags.add_argument("--arch", required=True)
    flags.add_argument("--only", default="", help="only mutants whose name holds this text")
    flags.add_argument("--verbose", action="store_true")
    options = flags.parse_args()
    if os.geteuid() != 0:
        print("SKIP: needs root")
        return 77
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "xdp_mutants")
    chosen = [mutant for mutant in read_mutants(path, XdpMutant) if options.only in mutant.name]
    why, failed = judge(options, None)
    if why or failed:
        sys.exit(f"the unbroken program: {why or failed}")
    good = 0
    for mutant in chosen:  # one after the other: they share the test's network namespace
        why, failed = judge(options, mutant)
        good += bool(failed)
        if why or not failed:
            print(f"xdp_mutants:{mutant.line}: {mutant.name}: {why or 'no test notices'}", flush=True)
        elif options.verbose:
            print(f"  {len(failed):3}  {mutant.name:<70} {failed[0][:90]}", flush=True)
    print(f"{good} of {len(chosen)} mutants are caught")
    return 0 if good == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
