#!/usr/bin/env python3
"""Holds the package list of scripts/setup against what the project really uses: every library CMake asks for and every
program that scripts and tests run must come from a listed package (or Debian's essential base)."""

import os
import re
import subprocess
import sys

# CMake's name of a library → the Debian package that brings it.
LIBRARIES = {
    "OpenSSL": "libssl-dev", "Boost": "libboost1.81-dev", "fmt": "libfmt-dev", "spdlog": "libspdlog-dev",
    "yaml-cpp": "libyaml-cpp-dev", "CLI11": "libcli11-dev", "prometheus-cpp": "prometheus-cpp-dev", "GTest": "libgtest-dev",
    "libmnl": "libmnl-dev", "libcares": "libc-ares-dev", "libbpf": "libbpf-dev", "libdpdk": "dpdk-dev",
    "libxxhash": "libxxhash-dev", "PkgConfig": "pkg-config", "Threads": "build-essential",
}
# A program that scripts or tests run → its package.
PROGRAMS = {
    "cmake": "cmake", "ctest": "cmake", "ninja": "ninja-build", "clang-16": "clang-16", "bpftool": "bpftool",
    "clang-format-14": "clang-format-14", "clang-tidy-16": "clang-tidy-16", "ip": "iproute2", "bridge": "iproute2",
    "tc": "iproute2", "sysctl": "procps", "nsenter": "util-linux", "curl": "curl", "dig": "bind9-dnsutils", "nsd": "nsd",
    "openssl": "openssl", "ethtool": "ethtool", "python3": "python3", "ping": "iputils-ping", "git": "git",
}
FIND = re.compile(r"(?:find_package\((\S+?)[\s)]|pkg_check_modules\(\w+[^)]*?(lib[\w-]+)\))")


def git_files(root, *patterns):
    done = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard", "--", *patterns],
                          capture_output=True, text=True, check=True)
    return [path for path in done.stdout.splitlines() if os.path.exists(os.path.join(root, path))]


def read(root, path):
    with open(os.path.join(root, path), errors="replace") as file:
        return file.read()


def libraries_used(root):
    for path in git_files(root, "*CMakeLists.txt", "*.cmake"):
        for match in FIND.finditer(re.sub(r"#.*", "", read(root, path))):
            yield match.group(1) or match.group(2), path


def programs_used(root):
    """Words of the scripts, the lab and the tests that are one of PROGRAMS, as a command or in quotes."""
    for path in git_files(root, "scripts/*", "tests/*", ".ci/run", "bpf/CMakeLists.txt"):
        text = read(root, path)
        for program in PROGRAMS:
            if re.search(rf'(["\'/]|^\s*|[|;&(] ?|COMMAND |NAMES ){re.escape(program)}(["\'\s])', text, re.M):
                yield program, path


def main(root):
    listed = set(subprocess.run([f"{root}/scripts/setup", "--list"], capture_output=True, text=True, check=True)
                 .stdout.split())
    wrong = []
    for name, path in libraries_used(root):
        if name not in LIBRARIES:
            wrong.append(f"{path}: find {name}: tests/lint/packages.py does not know its package")
        elif LIBRARIES[name] not in listed:
            wrong.append(f"{path}: needs {LIBRARIES[name]}, which scripts/setup does not list")
    for name, path in programs_used(root):
        if PROGRAMS[name] not in listed:
            wrong.append(f"{path}: runs {name} of {PROGRAMS[name]}, which scripts/setup does not list")
    used = {LIBRARIES.get(name) for name, _ in libraries_used(root)} | {PROGRAMS[name] for name, _ in programs_used(root)}
    print("\n".join(sorted(set(wrong))) or f"packages: {len(used)} packages in use, all of them listed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "."))
