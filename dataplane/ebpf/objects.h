// The compiled BPF object files, built into the program (bpf/CMakeLists.txt, target bpf_skeleton).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace thalweg::dataplane {

struct ObjectFile {
  const char* name;
  const void* bytes;
  size_t size;
};

// "tc", "socket", "xdp": the path. "gate": what stands before it while another layout takes over.
ObjectFile object_file(std::string_view name);
std::vector<ObjectFile> path_objects();
// Changes with the code of path_objects().
std::string path_code_name();

}  // namespace thalweg::dataplane
