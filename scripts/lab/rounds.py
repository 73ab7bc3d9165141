"""Measuring on a shared machine: two sides interleaved A B B A, the median of what each showed."""

import json
import statistics
import subprocess

ROUNDS = 12  # of A and B each; even, so that A B B A comes out whole


class NetLoad:
    """One kind of load between two namespaces; called once a round."""

    def __init__(self, program, mode, server, client, address, seconds=0.5, cpus=("0", "0"), port=9000, prefix=()):
        self.command = [*prefix, program, mode, server, client, address, str(port), str(seconds), *cpus]

    def __call__(self):
        done = subprocess.run(self.command, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(self.command)}: {done.stderr.strip()}")
        seen = json.loads(done.stdout)
        return {"per_s": seen["operations"] / seen["seconds"],
                "cpu_us": seen["cpu_seconds"] * 1e6 / max(seen["operations"], 1),
                "cpu_s_per_gb": seen["cpu_seconds"] * 1e9 / max(seen["operations"], 1),
                # Of the CPUs given: below 0.9 the load generator did not keep its CPU busy, and the rate says little.
                "busy": seen["cpu_seconds"] / seen["seconds"]}


def interleave_all(sides, rounds=ROUNDS):
    """Runs all sides in turn, there and back, after one round thrown away; the median of each key for every side."""
    for side in sides:
        side()
    seen = [[] for _ in sides]
    for number in range(rounds):
        for at in (range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))):
            seen[at].append(sides[at]())
    return [{key: statistics.median(one[key] for one in of) for key in of[0]} for of in seen]


def interleave(ours, theirs, rounds=ROUNDS):
    """A B B A …; the median of each key for both."""
    return tuple(interleave_all([ours, theirs], rounds))
