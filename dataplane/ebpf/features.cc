#include "dataplane/ebpf/features.h"

#include <bpf/bpf.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <filesystem>

#include "base/fd.h"
#include "dataplane/ebpf/program.h"

#ifndef CGROUP2_SUPER_MAGIC
#define CGROUP2_SUPER_MAGIC 0x63677270
#endif

namespace thalweg::dataplane {
namespace {

// The nearest folder of path that exists decides.
bool lies_on(std::filesystem::path path, long magic) {
  std::error_code ignored;
  while (path.has_relative_path() && !std::filesystem::exists(path, ignored)) path = path.parent_path();
  struct statfs info {};
  return ::statfs(path.c_str(), &info) == 0 && info.f_type == magic;
}

// "return TCX_NEXT": lets every packet go on.
Result<Fd> load_pass_program() {
  const bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1},
                           {.code = BPF_JMP | BPF_EXIT}};
  const int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "thalweg_probe", "GPL", code, 2, nullptr);
  if (fd < 0) return fail_errno(-fd, "use bpf(2) (CAP_BPF and CAP_NET_ADMIN are needed)");
  return Fd(fd);
}

// On the loopback of this namespace, for a moment.
bool probe_tcx(int program) {
  const int link = bpf_link_create(program, 1, static_cast<bpf_attach_type>(kTcxIngress), nullptr);
  if (link >= 0) ::close(link);
  return link >= 0;
}

bool probe_batch() {
  Fd map(bpf_map_create(BPF_MAP_TYPE_HASH, "thalweg_probe", 4, 4, 1, nullptr));
  uint32_t key = 0, value = 0, count = 1;
  return map && bpf_map_update_batch(map.get(), &key, &value, &count, nullptr) == 0;
}

}  // namespace

Result<Features> find_features(const std::string& bpf_dir, const std::string& cgroup_dir) {
  Features found;
  const Fd program = TRY(load_pass_program());
  found.tcx = probe_tcx(program.get());
  found.batch = probe_batch();
  found.btf = ::access("/sys/kernel/btf/vmlinux", R_OK) == 0;
  found.bpffs = lies_on(bpf_dir, BPF_FS_MAGIC);
  found.cgroup2 = !cgroup_dir.empty() && lies_on(cgroup_dir, CGROUP2_SUPER_MAGIC);
  if (!found.tcx) return fail("this kernel has no tcx links: Linux 6.6 or later is needed");
  if (!found.bpffs) return fail("{} is not on a bpffs: mount -t bpf bpf /sys/fs/bpf", bpf_dir);
  if (!found.btf)
    found.missing.emplace_back(
        "kernel BTF (/sys/kernel/btf/vmlinux): programs cannot fit themselves to this kernel");
  if (!found.batch) found.missing.emplace_back("batch updates: large changes take longer");
  if (!found.cgroup2)
    found.missing.emplace_back(fmt::format(
        "a cgroup2 at --cgroup {}: connect() does not pick backends, services are rewritten by packet",
        cgroup_dir.empty() ? "(not given)" : cgroup_dir));
  return found;
}

}  // namespace thalweg::dataplane
