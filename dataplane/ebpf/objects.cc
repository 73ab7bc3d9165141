#include "dataplane/ebpf/objects.h"

#include "bpf/socket.skel.h"
#include "bpf/tc.skel.h"

namespace thalweg::dataplane {

std::vector<ObjectFile> object_files() {
  std::vector<ObjectFile> files = {{"tc", nullptr, 0}, {"socket", nullptr, 0}};
  files[0].bytes = tc_bpf__elf_bytes(&files[0].size);
  files[1].bytes = socket_bpf__elf_bytes(&files[1].size);
  return files;
}

}  // namespace thalweg::dataplane
