#!/usr/bin/env python3
"""Checks the rules of the house over a source tree: layers, the packet path's restrictions, how a file opens.

Usage: lint.py ROOT. Prints file:line: what, one a line; exit 1 if there is any. lint_test.py shows each rule catching."""

import os
import re
import subprocess
import sys

# What each folder may include from: the arrows of the architecture, all downwards.
MAY_INCLUDE = {
    "base": {"base"},
    "kube": {"base", "kube"},
    "bpf": {"bpf"},
    "policy": {"base", "kube", "policy", "bpf/abi.h"},
    "dataplane": {"base", "kube", "policy", "dataplane", "bpf"},
    "cni-plugins": {"base", "kube", "policy", "cni-plugins"},
    "dns": {"base", "kube", "policy", "dns"},
    "ingress": {"base", "kube", "policy", "ingress"},
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
SOURCE = re.compile(r"\.(c|h|cc|def)$")
LONGEST_FILE = 700


def layers(path, lines):
    folder = path.split("/")[0]
    allowed = MAY_INCLUDE.get(folder)
    if allowed is None:
        return
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(1)
        first = target.split("/")[0]
        if first in MAY_INCLUDE and first not in allowed and target not in allowed:
            yield number, f"{folder}/ may not include {target}: arrows go down only"


def packet_path(path, lines):
    """bpf/path/ is one source for every engine: no conditionals, no kernel names, no libc."""
    if not path.startswith("bpf/path/"):
        return
    guard = False
    for number, line in enumerate(lines, 1):
        if re.match(r"^\s*#\s*ifndef THALWEG_", line) and not guard:
            guard = True
            continue
        if re.match(r"^\s*#\s*(if|ifdef|ifndef|elif|else)\b", line):
            yield number, "the packet path has no conditional compilation"
        if re.search(r"\bbpf_[a-z]", line):
            yield number, "the packet path names no bpf_ helper: bpf/port/ does"
        if re.match(r"^\s*#\s*include\s*<(?!linux/)", line):
            yield number, "the packet path uses no libc"


def opening(path, lines):
    """A file opens with what it is and who calls it."""
    if not re.search(r"\.h$", path) or path.startswith("tests/"):
        return
    first = lines[0] if lines else ""
    if not first.startswith(("//", "/*")):
        yield 1, "a header opens with 1–5 lines: what it is and who calls it"


def size(path, lines):
    if len(lines) > LONGEST_FILE:
        yield LONGEST_FILE, f"{len(lines)} lines: a file is a noun, this one is several"


def names(path, lines):
    if path.startswith("tests/"):
        return
    for number, line in enumerate(lines, 1):
        match = re.match(r"^\s*(?:class|struct)\s+(\w*(?:Manager|Handler|Helper|Util)s?)\b", line)
        if match:
            yield number, f"{match.group(1)}: name what it is, not that it manages or helps"


RULES = (layers, packet_path, opening, size, names)


def check(path, text):
    lines = text.splitlines()
    for rule in RULES:
        for number, what in rule(path, lines):
            yield f"{path}:{number}: {what}"


def main(root):
    listed = subprocess.run(["git", "-C", root, "ls-files"], capture_output=True, text=True, check=True)
    paths = [path for path in listed.stdout.splitlines() if SOURCE.search(path)]
    if len(paths) < 10:
        sys.exit(f"lint: only {len(paths)} source files under {root}: is this the tree?")
    found = []
    for path in paths:
        full = os.path.join(root, path)
        if os.path.exists(full):
            with open(full, errors="replace") as file:
                found += check(path, file.read())
    print("\n".join(found) if found else f"lint: {len(paths)} files keep the rules")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "."))
