"""Brings the demo cluster up, shows it working, takes it down. Called by scripts/demo."""

import signal
import sys

from checks import Checks
from cluster import PODS, Cluster
from trial import clip, flags, paint, run, show_logs

STAY = """
The cluster stays up until ctrl-C. In another terminal, as root:
  {thalweg} --socket {folder}/n1/run/agent.sock status
  {thalweg} --socket {folder}/n1/run/agent.sock why demo/stranger-1 demo/api-1 8080/tcp
  ip netns exec twd-client-1 curl http://{web}:8080/          (pods: {pods})
  ip netns exec twd-out curl http://203.0.113.80/             (through thalweg-edge)
  nsenter --net=/run/netns/twd-n1 dig @192.0.2.11 web.demo.svc.cluster.local
  edit a file under {manifests} and watch {folder}/log/thalwegd-n1
"""


def print_row(row):
    seen = row.seen if row.good is False else clip(row.seen, 70)
    print(f"  {paint(row.good)}  {row.what:<48}  {clip(row.expected, 44):<44}  {seen}", flush=True)


def show(cluster, stay, measured):
    print(f"\n        {'what':<48}  {'expected':<44}  seen")
    good = Checks(cluster, print_row).all()
    if good and measured:
        from figures import print_figures
        print_figures(cluster)
    print(f"\n{'Every check is as expected.' if good else 'Some checks differ from what was expected.'}")
    if stay:
        if not good:
            show_logs(cluster)
        print(STAY.format(thalweg=f"{cluster.binaries}/thalweg", folder=cluster.folder, web=cluster.v4("web-2"),
                          pods=" ".join(PODS), manifests=cluster.manifests), flush=True)
        signal.pause()
    return good


def main():
    parser = flags("scripts/demo", __doc__, "twd")
    parser.add_argument("--stay", action="store_true", help="leave the cluster up and say what to try; ctrl-C ends it")
    parser.add_argument("--no-figures", action="store_true", help="leave out the measured figures at the end")
    options = parser.parse_args()
    cluster = Cluster(options.bin, options.prefix, say=lambda text: print(f"… {text}", flush=True))
    return run("demo", options, cluster, lambda cluster: show(cluster, options.stay, not options.no_figures))


if __name__ == "__main__":
    sys.exit(main())
