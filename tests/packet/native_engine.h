// The native path as an Engine: each packet in a heap buffer of its exact size, so that ASan sees every step
// outside.
#pragma once

#include <memory>

#include "tests/packet/engine.h"

namespace thalweg::packet {

std::unique_ptr<Engine> native_engine();

}  // namespace thalweg::packet
