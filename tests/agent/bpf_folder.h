// A bpffs folder of a test's own, gone when the test ends; and what it needs to run at all.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace thalweg::test {

// Empty: this test can use bpf(2). Else why it is skipped.
inline std::string why_no_bpf() {
  if (::geteuid() != 0) return "needs root";
  LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
  const int trie = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "twt_probe", 8, 4, 1, &options);
  if (trie < 0) return "needs bpf(2)";
  ::close(trie);
  return "";
}

class BpfFolder {
 public:
  BpfFolder() : path_(fmt::format("/tmp/twt-bpf-{}", ::getpid())) {
    std::filesystem::create_directories(path_);
    mounted_ = ::mount("bpf", path_.c_str(), "bpf", 0, nullptr) == 0;
  }
  ~BpfFolder() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  BpfFolder(const BpfFolder&) = delete;
  BpfFolder& operator=(const BpfFolder&) = delete;
  bool mounted() const { return mounted_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  bool mounted_ = false;
};

}  // namespace thalweg::test
