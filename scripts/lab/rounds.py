"""Measuring on a shared machine: two sides interleaved A B B A, the median of what each showed."""

import json
import statistics
import subprocess

ROUNDS = 12  # of A and B each; even, so that A B B A comes out whole


class NetLoad:
    """One kind of load between two namespaces; called once a round."""

    def __init__(self, program, mode, server, client, address, seconds=0.5, cpus=("0", "0")):
        self.command = [program, mode, server, client, address, "9000", str(seconds), *cpus]

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


def interleave(ours, theirs, rounds=ROUNDS):
    """Runs ours and theirs A B B A …; returns the median of each key for both, after one round thrown away."""
    ours(), theirs()
    seen = {ours: [], theirs: []}
    for number in range(rounds):
        for side in ((ours, theirs) if number % 2 == 0 else (theirs, ours)):
            seen[side].append(side())
    return tuple({key: statistics.median(one[key] for one in seen[side]) for key in seen[side][0]}
                 for side in (ours, theirs))
