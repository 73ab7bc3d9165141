"""Brings the demo cluster up, shows it working, takes it down. Called by scripts/demo."""

import argparse
import os
import shutil
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from checks import Checks  # noqa: E402
from cluster import PODS, Cluster  # noqa: E402
from host import LabError  # noqa: E402

STAY = """
The cluster stays up until ctrl-C. In another terminal, as root:
  {thalweg} --socket {folder}/n1/run/agent.sock status
  {thalweg} --socket {folder}/n1/run/agent.sock why demo/stranger-1 demo/api-1 8080/tcp
  ip netns exec twd-client-1 curl http://{web}:8080/          (pods: {pods})
  ip netns exec twd-out curl http://203.0.113.80/             (through thalweg-edge)
  nsenter --net=/run/netns/twd-n1 dig @192.0.2.11 web.demo.svc.cluster.local
  edit a file under {manifests} and watch {folder}/log/thalwegd-n1
"""


def paint(good):
    mark = {True: "ok  ", False: "FAIL", None: "SKIP"}[good]
    colour = {True: 32, False: 31, None: 33}[good]
    return mark if not sys.stdout.isatty() else f"\033[{colour}m{mark}\033[0m"


def clip(text, width):
    return text if len(text) <= width else text[: width - 1] + "…"


def print_row(row):
    seen = row.seen if row.good is False else clip(row.seen, 70)
    print(f"  {paint(row.good)}  {row.what:<48}  {clip(row.expected, 44):<44}  {seen}", flush=True)


def show_logs(cluster):
    folder = f"{cluster.folder}/log"
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.startswith("thalweg"):
            with open(f"{folder}/{name}", errors="replace") as log:
                print(f"--- the end of {name}\n{''.join(log.readlines()[-15:])}", file=sys.stderr)


def interrupt(*_):
    raise KeyboardInterrupt


def main():
    flags = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    flags.add_argument("--stay", action="store_true", help="leave the cluster up and say what to try; ctrl-C ends it")
    flags.add_argument("--no-figures", action="store_true", help="leave out the measured figures at the end")
    flags.add_argument("--keep-logs", metavar="DIR", help="copy every program's log there before cleaning up")
    flags.add_argument("--prefix", default="twd", help="what the name of every namespace begins with (default: twd)")
    flags.add_argument("--bin", default=f"{os.path.dirname(os.path.abspath(__file__))}/../../build/bin",
                       help="where the programs are (default: build/bin)")
    flags.add_argument("--sweep", action="store_true", help="only remove what a killed demo left, then exit")
    options = flags.parse_args()
    if os.geteuid() != 0:
        print("demo: SKIP: network namespaces and BPF need root")
        return 77
    signal.signal(signal.SIGTERM, interrupt)

    cluster = Cluster(os.path.realpath(options.bin), options.prefix, say=lambda text: print(f"… {text}", flush=True))
    if options.sweep:
        cluster.down()
        return 0
    try:
        cluster.up()
        print(f"\n        {'what':<48}  {'expected':<44}  seen")
        good = Checks(cluster, print_row).all()
        if good and not options.no_figures:
            from figures import print_figures
            print_figures(cluster)
        if not good:
            show_logs(cluster)
        print(f"\n{'Every check is as expected.' if good else 'Some checks differ from what was expected.'}")
        if options.stay:
            print(STAY.format(thalweg=f"{cluster.binaries}/thalweg", folder=cluster.folder, web=cluster.v4("web-2"),
                              pods=" ".join(PODS), manifests=cluster.manifests), flush=True)
            signal.pause()
        return 0 if good else 1
    except LabError as error:
        print(f"demo: {error}", file=sys.stderr)
        show_logs(cluster)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second ctrl-C must not stop the cleaning
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if options.keep_logs and os.path.isdir(f"{cluster.folder}/log"):
            shutil.copytree(f"{cluster.folder}/log", options.keep_logs, dirs_exist_ok=True)
        cluster.down()


if __name__ == "__main__":
    sys.exit(main())
