#!/usr/bin/env python3
"""Seeded mutants: breaks copies of bpf/path in the ways the file `mutants` lists, one at a time, and runs every packet
case on each. A mutant that no case notices is a missing case; a text that is no longer in the path is a dead mutant.
Either fails the test, and so does an unbroken copy that fails a case.

Usage: mutants.py --source ROOT --cases native_cases --compiler CLANG --sanitizing GCC [--only TEXT] [--verbose]"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import tempfile

FLAGS = ["-std=gnu11", "-O0", "-fPIC", "-w", "-Dalways_inline=noinline"]  # as fast to compile as can be
ASAN = "detect_leaks=0:malloc_context_size=0:quarantine_size_mb=1"         # native_cases starts and ends often
LIBRARY = "libpacket_path.so"  # what native_cases looks for
MOST_SECONDS = 60              # a mutant may turn the path into a loop
FEWEST = 30


class Mutant:
    folder = "bpf/path"

    def __init__(self, name, line):
        self.name, self.line, self.file, self.old, self.new = name, line, None, [], []

    def write(self, source, folder):
        """The broken file, where it is found before the one it is a copy of; empty, or why there is none."""
        with open(f"{source}/{self.folder}/{self.file}") as file:
            text = file.read()
        old = "\n".join(self.old)
        if text.count(old) != 1:
            return f"its text stands {text.count(old)} times in {self.file}, not once"
        os.makedirs(f"{folder}/{self.folder}/{os.path.dirname(self.file)}")
        with open(f"{folder}/{self.folder}/{self.file}", "w") as file:
            file.write(text.replace(old, "\n".join(self.new)))
        return ""


def read_mutants(path, kind=Mutant):
    """[name], the file, then lines that go (- ) and lines that come instead (+ )."""
    mutants = []
    with open(path) as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if line.startswith("["):
                mutants.append(kind(line.strip("[]"), number))
            elif line[:2] in ("- ", "+ ", "+"):
                (mutants[-1].old if line[0] == "-" else mutants[-1].new).append(line[2:])
            elif line and not line.startswith("#"):
                mutants[-1].file = line
    return mutants


def compile_tables(options, folder):
    """What no mutant changes, compiled once."""
    subprocess.run([options.compiler, *FLAGS, "-I", options.source, "-c", f"{options.source}/bpf/port/native_tables.c",
                    "-o", f"{folder}/tables.o"], check=True)


def build(options, mutant, folder, compiler):
    """A shared library of the path, broken by the mutant; empty, or why there is none."""
    why = mutant.write(options.source, folder) if mutant else ""
    if why:
        return why
    command = [*compiler, *FLAGS, "-I", folder, "-I", options.source, "-shared",
               f"{options.source}/bpf/port/native.c", options.tables, "-o", f"{folder}/{LIBRARY}"]
    done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"it does not compile: {done.stderr.strip()}"


def failed_cases(options, folder):
    """What the cases say of the library in folder: None if all hold, else the names of those that do not."""
    environment = {**os.environ, "LD_LIBRARY_PATH": folder, "ASAN_OPTIONS": ASAN}
    try:
        done = subprocess.run([options.cases], env=environment, capture_output=True, text=True, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return ["(it does not end)"]
    if done.returncode == 0:
        return None
    sanitizer = re.search(r"(AddressSanitizer: \S+|runtime error: .*)", done.stderr)
    return done.stdout.splitlines() or [sanitizer.group(1) if sanitizer else f"(exit {done.returncode}) {done.stderr}"]


def judge(options, mutant):
    """Why there is no verdict, and the cases that fail. Most mutants show without a sanitizer, which takes four times as
    long to compile; those that do not are tried again with it."""
    failed = None
    for compiler in ([options.compiler], [options.sanitizing, "-fsanitize=address"]):
        with tempfile.TemporaryDirectory(prefix="thalweg-mutant-") as folder:
            why = build(options, mutant, folder, compiler)
            failed = None if why else failed_cases(options, folder)
        if why or failed:
            return why, failed
    return "", failed


def say(options, mutant, why, failed):
    """Prints what became of a mutant; true if all is well."""
    if why:
        print(f"mutants:{mutant.line}: {mutant.name}: {why}")
    elif failed is None:
        print(f"mutants:{mutant.line}: {mutant.name}: no packet case notices")
    elif options.verbose:
        print(f"  {len(failed):3}  {mutant.name:<70} {failed[0][:90]}")
    return not why and failed is not None


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--source", required=True)
    flags.add_argument("--cases", required=True)
    flags.add_argument("--compiler", required=True, help="the fastest there is")
    flags.add_argument("--sanitizing", required=True, help="one whose AddressSanitizer is that of native_cases")
    flags.add_argument("--only", default="", help="only mutants whose name holds this text")
    flags.add_argument("--verbose", action="store_true")
    options = flags.parse_args()
    mutants = read_mutants(os.path.join(os.path.dirname(os.path.abspath(__file__)), "mutants"))
    if len(mutants) < FEWEST:
        sys.exit(f"only {len(mutants)} mutants, at least {FEWEST} are wanted")
    chosen = [mutant for mutant in mutants if options.only in mutant.name]
    with tempfile.TemporaryDirectory(prefix="thalweg-mutants-") as folder:
        options.tables = f"{folder}/tables.o"
        compile_tables(options, folder)
        why, failed = judge(options, None)
        if why or failed:
            sys.exit(f"the unbroken path: {why or failed}")
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            verdicts = list(pool.map(lambda mutant: judge(options, mutant), chosen))
    good = [say(options, mutant, *verdict) for mutant, verdict in zip(chosen, verdicts)]
    print(f"{sum(good)} of {len(good)} mutants are caught")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
