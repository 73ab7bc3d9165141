"""What every trial of this folder has around its story: flags, root or SKIP, a cluster brought up, each check said as it is
made, the ends of the logs where one failed, everything taken down again. `--sweep` removes what a killed run left.

A trial is a file: a Cluster (what is built), a class of Checks (what is done, and what must hold) and a main()."""

import argparse
import os
import shutil
import signal
import sys
import time

from host import LabError, cgroup2_root, wait_for

SKIPPED, INTERRUPTED = 77, 130
SOON_S = 3


def paint(good):
    mark = {True: "ok  ", False: "FAIL", None: "SKIP"}[good]
    colour = {True: 32, False: 31, None: 33}[good]
    return mark if not sys.stdout.isatty() else f"\033[{colour}m{mark}\033[0m"


def clip(text, width):
    return text if len(text) <= width else text[: width - 1] + "…"


class Checks:
    """Each check is said as it is made; `good` until one fails. A trial's own class adds all(), its story."""

    def __init__(self, cluster):
        self.c, self.good = cluster, True

    def say(self, what, good, seen=""):
        self.good = self.good and bool(good)
        print(f"  {paint(bool(good))}  {what}{'' if good else ': ' + clip(' '.join(str(seen).split()), 2000)}", flush=True)

    def same(self, what, expected, seen):
        self.say(what, seen == expected, f"expected {expected}, saw {seen}")

    def soon(self, what, true, seen=lambda: "", within_s=SOON_S):
        """What must come to hold, and after how long it did."""
        try:
            begun = time.monotonic()
            wait_for(what, true, timeout_s=within_s)
            self.say(f"{what} ({(time.monotonic() - begun) * 1000:.0f} ms)", True)
        except LabError:
            self.say(what, False, seen())


def flags(name, doc, prefix):
    """The flags every trial has; it may add its own."""
    parser = argparse.ArgumentParser(prog=name, description=doc, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", default=f"{os.path.dirname(__file__)}/../../build/bin", type=os.path.realpath,
                        help="where the programs are (default: build/bin)")
    parser.add_argument("--prefix", default=prefix, help=f"what the name of every namespace begins with (default: {prefix})")
    parser.add_argument("--keep-logs", metavar="DIR", help="copy every program's log there before cleaning up")
    parser.add_argument("--sweep", action="store_true", help="only remove what a killed run left, then exit")
    return parser


def interrupt(*_):
    raise KeyboardInterrupt


def run(name, options, cluster, story):
    """Brings the cluster up, tells the story, which says whether all was well, and takes the cluster down; the exit code."""
    if os.geteuid() != 0 or not cgroup2_root():
        print(f"{name}: SKIP: needs root and a cgroup2 mount")
        return SKIPPED
    if options.sweep:
        cluster.down()
        return 0
    signal.signal(signal.SIGTERM, interrupt)
    try:
        cluster.up()
        good = story(cluster)
        if not good:
            show_logs(cluster)
        return 0 if good else 1
    except LabError as error:
        print(f"{name}: {error}", file=sys.stderr)
        show_logs(cluster)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        for ending in (signal.SIGINT, signal.SIGTERM):  # a second ctrl-C must not stop the cleaning
            signal.signal(ending, signal.SIG_IGN)
        if options.keep_logs and os.path.isdir(f"{cluster.folder}/log"):
            shutil.copytree(f"{cluster.folder}/log", options.keep_logs, dirs_exist_ok=True)
        cluster.down()


def show_logs(cluster):
    folder = f"{cluster.folder}/log"
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.startswith("thalweg"):
            with open(f"{folder}/{name}", errors="replace") as log:
                print(f"--- the end of {name}\n{''.join(log.readlines()[-15:])}", file=sys.stderr)
