// Writes the packet cases as inputs of the fuzz targets: seeds FOLDER → FOLDER/parse/N, FOLDER/path/N.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/packet/case.h"

using namespace thalweg::packet;

namespace {

Bytes as_history(const Case& one) {
  Bytes out;
  for (const Step& step : one.steps) {
    if (step.after_s) out += {4, static_cast<char>(std::min(step.after_s, 255u))};
    if (step.headroom != 128) out += {7, static_cast<char>(step.headroom)};
    out += static_cast<char>(step.from == TO_UPLINK ? 8 : step.from);
    out += {static_cast<char>(step.in.size()), static_cast<char>(step.in.size() >> 8)};
    out += step.in;
  }
  return out;
}

void write_all(const std::filesystem::path& folder, const std::set<Bytes>& inputs) {
  std::filesystem::create_directories(folder);
  size_t number = 0;
  for (const Bytes& input : inputs)
    std::ofstream(folder / std::to_string(number++), std::ios::binary) << input;
  std::printf("%zu seeds in %s\n", inputs.size(), folder.c_str());
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) return std::fprintf(stderr, "usage: packet_fuzz_seeds FOLDER\n"), 2;
  std::set<Bytes> histories, frames;
  for (const Case& one : cases()) {
    histories.insert(as_history(one));
    for (const Step& step : one.steps) frames.insert(static_cast<char>(step.from) + step.in);
  }
  const std::filesystem::path folder = arguments[1];
  write_all(folder / "path", histories);
  write_all(folder / "parse", frames);
  return 0;
}
