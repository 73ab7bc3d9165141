// The path's programs in the kernel: loaded against the pinned tables, pinned, and hooked to interfaces (tcx,
// XDP) and to a cgroup by pinned links. The kernel forwards on when the process goes; the next one opens the
// links again and exchanges the program behind each at one stroke. Used by thalwegd.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "dataplane/ebpf/sets.h"

struct bpf_program;

namespace thalweg::dataplane {

// BPF_TCX_INGRESS and BPF_TCX_EGRESS (Linux 6.6), which Debian 12's headers do not have.
inline constexpr int kTcxIngress = 46;
inline constexpr int kTcxEgress = 47;

struct Hook {
  std::string program;  // "from_pod"
  std::string where;    // an interface, or the cgroup's path
};

class Programs {
 public:
  // Opens the programs pinned in the set's folder if they are of this code and use these tables; else loads
  // every program with the tables given and pins it there. What is attached stays as it is. The error is the
  // verifier's last word.
  static Result<Programs> load(const std::string& bpf_dir, const std::string& set_folder,
                               const EbpfDatapath& tables);
  // Whether load() found the programs pinned.
  bool adopted() const { return adopted_; }

  // ---- taking over from a set of another layout; each step leaves all hooks with a working program:
  // From now on attach() hooks the gate, behind which the old programs decide.
  Result<> raise_gate(const TableSets& sets, const EbpfDatapath& tables);
  // All hooks change sides at once: the programs behind it now take over flows as they meet them.
  Result<> pass_gate();
  // From now on attach() hooks this build's programs again.
  void leave_gate() { gate_.reset(); }
  // Once attached: pins of other code for the same tables go.
  Result<> drop_others();

  // Hooks the program to the interface: opens the link pinned for both and gives it this program, or makes
  // one. Idempotent.
  Result<> attach(const std::string& program, const std::string& interface, uint32_t ifindex);
  // The same for the XDP program, in the interface's driver. EOPNOTSUPP in code when that cannot.
  Result<> attach_xdp(const std::string& interface, uint32_t ifindex);
  Result<> detach_xdp(const std::string& interface);
  // Removes the interface's links. Absent is no error.
  Result<> detach(const std::string& interface);
  // Removes the links of every other interface, e.g. of pods that went while no agent ran.
  Result<> keep_only(const std::set<std::string>& interfaces);
  // Every socket hook, to the cgroup2 folder.
  Result<> attach_cgroup(const std::string& folder);

  // Links made because none was pinned, or it hung nowhere any more.
  uint64_t links_made() const { return links_made_; }
  bool has(const std::string& program) const { return programs_.contains(program); }
  // What is pinned now.
  std::vector<Hook> attached() const;

 private:
  struct Program {
    Fd fd;
    int attach_type = 0;
    uint32_t link_type = 0;
  };
  using ByName = std::map<std::string, Program>;
  struct Gate {
    ByName programs;  // at tc and XDP the gate's, at the cgroup those that take over
    Fd map;
    uint32_t open = 0;  // what the gate says when it lets packets through to the new side
  };
  const ByName& hooked() const { return gate_ ? gate_->programs : programs_; }
  static Program in_its_place(const bpf_program* program, Fd fd);
  static bool is_cgroup(const Program& program);
  static Result<ByName> read_pinned(const std::string& folder, const EbpfDatapath& tables);
  static Result<ByName> load_objects(const EbpfDatapath& tables, const TableSets* sets);
  std::string link_path(std::string_view program, std::string_view where) const;
  Result<> attach(const std::string& program, const std::string& interface, uint32_t ifindex, uint32_t flags);
  Result<> hook(const Program& program, int target, const std::string& path, uint32_t flags = 0);

  std::string folder_;  // bpf_dir
  std::string set_folder_;
  std::string cgroup_;
  ByName programs_;
  std::optional<Gate> gate_;
  bool adopted_ = false;
  uint64_t links_made_ = 0;
};

// Removes every pin under bpf_dir: links (so nothing is hooked any more), programs, tables.
Result<> unpin_all(const std::string& bpf_dir);

}  // namespace thalweg::dataplane
