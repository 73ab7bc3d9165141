// Every packet case on the native path alone, found as a shared library at run time: tests/packet/mutants.py
// puts broken copies of it there. Prints the cases that fail; exit 1 if any does.
#include <cstdio>

#include "tests/packet/case.h"
#include "tests/packet/native_engine.h"

int main() {
  using namespace thalweg::packet;
  const auto engine = native_engine();
  int failed = 0;
  for (const Case& one : cases()) {
    if (!why_not(*engine, one).empty()) continue;
    if (run_case(*engine, one, nullptr).empty()) continue;
    std::printf("%s\n", one.name.c_str());
    ++failed;
  }
  return failed ? 1 : 0;
}
