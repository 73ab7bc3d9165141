// What the kernel's verifier says of every program we load: for the ceilings recorded in the file `ceilings`,
// which packet_test holds it against.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace thalweg::packet {

struct ProgramFigures {
  std::string name;           // of its object and its own: "tc/from_pod"
  uint32_t instructions = 0;  // that the kernel keeps, its functions included
  uint32_t looked_at = 0;     // by the verifier, until it was sure; the kernel gives up at 1,000,000
  uint32_t stack = 0;         // of the longest chain of calls, bytes; the kernel refuses more than 512
};

// Loads every program once. An error says why this machine cannot.
Result<std::vector<ProgramFigures>> program_figures();

}  // namespace thalweg::packet
