#include "dataplane/ebpf/objects.h"

#include <fmt/format.h>

#include <cstdint>

#include "bpf/gate.skel.h"
#include "bpf/socket.skel.h"
#include "bpf/tc.skel.h"
#include "bpf/xdp.skel.h"

namespace thalweg::dataplane {
namespace {

ObjectFile with_bytes(const char* name, const void* (*bytes)(size_t*)) {
  ObjectFile file{name, nullptr, 0};
  file.bytes = bytes(&file.size);
  return file;
}

uint64_t fnv1a(uint64_t hash, const ObjectFile& file) {
  const auto* bytes = static_cast<const unsigned char*>(file.bytes);
  for (size_t i = 0; i < file.size; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3;
  return hash;
}

}  // namespace

ObjectFile object_file(std::string_view name) {
  if (name == "tc") return with_bytes("tc", tc_bpf__elf_bytes);
  if (name == "socket") return with_bytes("socket", socket_bpf__elf_bytes);
  if (name == "xdp") return with_bytes("xdp", xdp_bpf__elf_bytes);
  return with_bytes("gate", gate_bpf__elf_bytes);
}

std::vector<ObjectFile> path_objects() {
  return {object_file("tc"), object_file("socket"), object_file("xdp")};
}

std::string path_code_name() {
  uint64_t hash = 0xcbf29ce484222325;
  for (const ObjectFile& file : path_objects()) hash = fnv1a(hash, file);
  return fmt::format("{:016x}", hash);
}

}  // namespace thalweg::dataplane
