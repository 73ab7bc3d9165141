// The tc programs as an Engine: loaded into this kernel, each packet a fresh BPF_PROG_TEST_RUN. Nothing is
// attached.
#pragma once

#include <memory>

#include "tests/packet/engine.h"

namespace thalweg::packet {

// An error says why this machine cannot: not root, no BPF, a program the verifier refuses.
Result<std::unique_ptr<Engine>> kernel_engine();

}  // namespace thalweg::packet
