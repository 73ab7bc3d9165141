// The tc programs as an Engine: loaded into this kernel, each packet a fresh BPF_PROG_TEST_RUN. Nothing is
// attached.
#pragma once

#include <memory>
#include <vector>

#include "tests/packet/engine.h"

namespace thalweg::packet {

// An error says why this machine cannot: not root, no BPF, a program the verifier refuses.
Result<std::unique_ptr<Engine>> kernel_engine();

// Instructions the verifier kept of each program, by name; for the recorded ceilings.
struct ProgramSize {
  std::string name;
  uint32_t instructions = 0;
};
Result<std::vector<ProgramSize>> program_sizes();

}  // namespace thalweg::packet
