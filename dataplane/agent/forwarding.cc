#include "dataplane/agent/forwarding.h"

#include <algorithm>

#include "base/file.h"
#include "base/log.h"

namespace thalweg::dataplane {
namespace {

constexpr size_t kMaxNumberingBytes = 256u << 20;
constexpr size_t kMaxPendingRows = 1u << 20;  // beyond: everything is compared instead

}  // namespace

Forwarding::Forwarding(TableSets sets, EbpfDatapath datapath, std::string numbering_path,
                       const Config& config)
    : sets_(std::move(sets)),
      datapath_(std::move(datapath)),
      reconciler_(datapath_),
      compiler_(config),
      numbering_path_(std::move(numbering_path)) {}

Result<std::unique_ptr<Forwarding>> Forwarding::open(const std::string& bpf_dir,
                                                     const std::string& numbering_path,
                                                     const Config& config) {
  TableSets sets = TRY(TableSets::open(bpf_dir));
  EbpfDatapath datapath = sets.take_tables();
  for (const std::string& table : datapath.rebuilt())
    log::warn("the pinned table has another layout: rebuilt empty", {{"table", table}});
  for (const std::string& table : sets.lost()) log::warn("table not taken over", {{"table", table}});
  const std::string set_folder = sets.own_folder();
  std::unique_ptr<Forwarding> forwarding(
      new Forwarding(std::move(sets), std::move(datapath), numbering_path, config));
  forwarding->loading_ =
      std::async(std::launch::async, [bpf_dir, set_folder, &tables = forwarding->datapath_] {
        return Programs::load(bpf_dir, set_folder, tables);
      });
  TRY(forwarding->adopt());
  return forwarding;
}

Result<> Forwarding::adopt() {
  TRY(reconciler_.adopt());
  auto numbering = read_file(numbering_path_, kMaxNumberingBytes);
  if (numbering) {
    if (auto restored = compiler_.restore(*numbering); !restored)
      log::warn("numbering set aside", {{"file", numbering_path_}, {"error", restored.error().message}});
  } else if (numbering.error().code != ENOENT) {
    log::warn("numbering set aside", {{"file", numbering_path_}, {"error", numbering.error().message}});
  }
  compiler_.avoid(reconciler_.applied());
  return {};
}

Result<Programs*> Forwarding::programs() {
  if (!programs_) programs_ = loading_.get();
  if (!*programs_) return std::unexpected(programs_->error());
  return &**programs_;
}

std::vector<Hook> Forwarding::attached() const {
  if (!programs_ || !*programs_) return {};
  return (*programs_)->attached();
}

Result<> Forwarding::save_numbering() {
  const uint64_t version = compiler_.numbering_version();
  if (numbering_saved_ && version == saved_version_) return {};
  TRY(write_atomically(numbering_path_, compiler_.numbering(), 0600));
  saved_version_ = version;
  numbering_saved_ = true;
  return {};
}

Result<> Forwarding::settle() {
  Touched touched = compiler_.compile();
  pending_.insert(pending_.end(), std::make_move_iterator(touched.begin()),
                  std::make_move_iterator(touched.end()));
  if (pending_.size() > kMaxPendingRows) {
    pending_.clear();
    whole_ = false;
  }
  TRY(save_numbering());
  const Touched now = std::exchange(pending_, {});  // what fails, the reconciler remembers
  if (whole_) return reconciler_.update(compiler_.intent(), now);
  TRY(reconciler_.update_all(compiler_.intent()));
  whole_ = true;
  return {};
}

// ---- hooks

Result<> Forwarding::attach(const std::function<Result<>()>& attach_all) {
  if (sets_.wants_gate()) TRY(take_over(attach_all));
  TRY(attach_all());
  if (!sets_.before_folder().empty()) {
    for (const OldTable& old : sets_.old_tables()) TRY(take_over_rows(old, datapath_));
    TRY(reconciler_.doubt_flows());  // numbers may mean something else in this build
    log::info("took over from another layout", {{"tables", sets_.old_tables().size()}});
  }
  TRY(sets_.drop_others());
  Programs* const own = TRY(programs());
  return own->drop_others();
}

// The old programs go on deciding behind the gate until every hook has it; then all change sides at once, and
// rows not met by a packet meanwhile follow.
Result<> Forwarding::take_over(const std::function<Result<>()>& attach_all) {
  Programs* const own = TRY(programs());
  if (const auto raised = own->raise_gate(sets_, datapath_); !raised) {
    log::warn("no gate: flows opened in this moment are lost", {{"error", raised.error().message}});
    return {};
  }
  TRY(attach_all());
  TRY(own->pass_gate());
  own->leave_gate();
  for (const OldTable& old : sets_.old_tables()) TRY(take_over_rows(old, datapath_));
  return {};
}

bool Forwarding::holds(const LocalPod& pod) const {
  const auto& desired = compiler_.intent().endpoints;
  const auto& applied = reconciler_.applied().endpoints;
  return settled() && std::all_of(pod.ips.begin(), pod.ips.end(), [&](const Ip& ip) {
           const auto want = desired.find(to_addr(ip));
           const auto have = applied.find(to_addr(ip));
           return want != desired.end() && have != applied.end() && want->second.ifindex == pod.ifindex &&
                  RowEqual()(want->second, have->second);
         });
}

Result<uint64_t> Forwarding::verify() {
  if (!whole_) return 0;
  return reconciler_.verify(compiler_.intent());
}

}  // namespace thalweg::dataplane
