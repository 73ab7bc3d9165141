#!/usr/bin/env python3
"""Each rule of lint.py must catch what it is for, and leave alone what is right."""

import sys
import unittest

import lint

HEADER = "// What it is.\n"


class Lint(unittest.TestCase):
    def caught(self, path, text):
        return list(lint.check(path, text))

    def test_layers(self):
        self.assertTrue(self.caught("base/x.cc", '#include "kube/object.h"'))
        self.assertTrue(self.caught("dns/x.cc", '#include "ingress/proxy.h"'))
        self.assertTrue(self.caught("policy/x.cc", '#include "bpf/path/5_policy.h"'))
        self.assertFalse(self.caught("policy/x.cc", '#include "bpf/abi.h"\n#include "kube/object.h"'))
        self.assertFalse(self.caught("tests/x.cc", '#include "dns/zone.h"\n#include "ingress/proxy.h"'))

    def test_packet_path(self):
        self.assertTrue(self.caught("bpf/path/x.h", HEADER + "#ifdef KERNEL"))
        self.assertTrue(self.caught("bpf/path/x.h", HEADER + "  bpf_map_lookup_elem(a, b);"))
        self.assertTrue(self.caught("bpf/path/x.h", HEADER + "#include <string.h>"))
        self.assertFalse(self.caught("bpf/path/x.h", HEADER + "#ifndef THALWEG_X\n#define THALWEG_X\n#endif"))

    def test_opening(self):
        self.assertTrue(self.caught("base/x.h", "#pragma once"))
        self.assertFalse(self.caught("base/x.h", HEADER))

    def test_size(self):
        self.assertTrue(self.caught("base/x.cc", "\n" * (lint.LONGEST_FILE + 1)))

    def test_names(self):
        self.assertTrue(self.caught("base/x.cc", "class FlowManager {"))
        self.assertFalse(self.caught("base/x.cc", "class Flow {"))


if __name__ == "__main__":
    sys.exit(unittest.main())
