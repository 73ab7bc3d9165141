// The compiled BPF object files, built into the program (bpf/CMakeLists.txt, target bpf_skeleton).
#pragma once

#include <cstddef>
#include <vector>

namespace thalweg::dataplane {

struct ObjectFile {
  const char* name;
  const void* bytes;
  size_t size;
};

std::vector<ObjectFile> object_files();

}  // namespace thalweg::dataplane
