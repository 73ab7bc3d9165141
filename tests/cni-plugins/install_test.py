#!/usr/bin/env python3
"""deploy/install --suite: beside another's plugins, again and again while they are called, and away again. Usage:
install_test.py --source SOURCE --bin BUILD/bin"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading

UPGRADES = 10


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--bin", required=True)
    options = parser.parse_args()
    failed = []

    def check(holds, what):
        print(f"{'ok  ' if holds else 'FAIL'} {what}", flush=True)
        if not holds:
            failed.append(what)

    with tempfile.TemporaryDirectory() as root:
        plugins = f"{root}/opt/cni/bin"
        os.makedirs(plugins)
        for name in ("bridge", "tuning"):  # somebody else's: one we have, one we do not
            with open(f"{plugins}/{name}", "w") as file:
                file.write(f"#!/bin/sh\necho somebody else\\'s {name}\n")
            os.chmod(f"{plugins}/{name}", 0o755)
        before = {name: open(f"{plugins}/{name}").read() for name in os.listdir(plugins)}

        def install(*more):
            return subprocess.run([f"{options.source}/deploy/install", "--root", root, "--bin", options.bin, *more],
                                  capture_output=True, text=True)

        done = install("--suite")
        check(done.returncode == 0, f"install {done.stderr.strip()}")
        names = subprocess.run([f"{plugins}/thalweg-cni", "--list"], capture_output=True, text=True).stdout.split()
        check("bridge" in names and "host-local" in names, f"{len(names)} plugins are named")
        check(len({os.stat(f"{plugins}/{name}").st_ino for name in names}) == 1, "all names lead to one file")

        calls = {"made": 0, "failed": []}
        stop = threading.Event()

        def call(number):
            config = json.dumps({"cniVersion": "1.1.0", "name": "n", "type": "host-local",
                                 "ipam": {"dataDir": f"{root}/state", "ranges": [[{"subnet": "192.0.2.0/24"}]]}})
            while not stop.is_set():
                for verb in ("ADD", "DEL"):
                    ran = subprocess.run([f"{plugins}/host-local"], input=config, capture_output=True, text=True,
                                         env={"CNI_COMMAND": verb, "CNI_CONTAINERID": f"c{number}", "CNI_IFNAME": "eth0",
                                              "CNI_NETNS": "/run/netns/none", "CNI_PATH": plugins})
                    calls["made"] += 1
                    if ran.returncode != 0:
                        calls["failed"].append(ran.stdout + ran.stderr)

        callers = [threading.Thread(target=call, args=(number,)) for number in range(2)]
        for caller in callers:
            caller.start()
        for _ in range(UPGRADES):
            install()  # an upgrade keeps the suite
        stop.set()
        for caller in callers:
            caller.join()
        check(calls["made"] > UPGRADES and not calls["failed"], f"{calls['made']} calls during {UPGRADES} upgrades {calls['failed'][:1]}")
        check(len({os.stat(f"{plugins}/{name}").st_ino for name in names}) == 1, "still all names lead to one file")
        check(not [name for name in os.listdir(plugins) if name.endswith(".new")], "no half of a file is left")

        check(install("--remove").returncode == 0, "remove")
        after = {name: open(f"{plugins}/{name}").read() for name in os.listdir(plugins)}
        check(after == before, f"somebody else's plugins are as before, and nothing else is there: {sorted(after)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
