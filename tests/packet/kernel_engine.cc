#include "tests/packet/kernel_engine.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <map>
#include <vector>

#include "bpf/tc.skel.h"

namespace thalweg::packet {

namespace {

struct Outcome {  // struct outcome of bpf/tc.bpf.c
  uint32_t verdict, reason;
  hop to;
  uint32_t rule, pad;
};

constexpr const char* kMapNames[] = {
#define TABLE(name, kind, key, value, entries, writer) "tw_" #name,
#include "bpf/maps.def"
#undef TABLE
};

int quiet(libbpf_print_level, const char*, va_list) { return 0; }

struct Closer {
  void operator()(tc_bpf* skeleton) const { tc_bpf__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<tc_bpf, Closer>;

Result<Skeleton> load() {
  if (geteuid() != 0) return fail("loading BPF programs needs root");
  libbpf_set_print(quiet);
  Skeleton skeleton(tc_bpf__open());
  if (!skeleton) return fail_errno(errno, "open the tc programs");
  skeleton->rodata->record_outcomes = true;
  if (const int code = tc_bpf__load(skeleton.get()); code != 0)
    return fail_errno(-code, "load the tc programs");
  return skeleton;
}

class KernelEngine : public Engine {
 public:
  explicit KernelEngine(Skeleton skeleton) : skeleton_(std::move(skeleton)) {}
  std::string name() const override { return "kernel"; }
  bool can_drop_for(drop_reason reason) const override {
    return reason != DROP_NO_ROOM;
  }  // the kernel finds headroom

  bool can_take(const Bytes& packet) const override { return packet.size() >= 14 + 20; }

  Result<> put(table_id table, const Bytes& key, const Bytes& value) override {
    if (value.empty() ? bpf_map_delete_elem(fd(table), key.data()) != 0
                      : bpf_map_update_elem(fd(table), key.data(), value.data(), BPF_ANY) != 0)
      return fail_errno(errno, "put a row of {}", kMapNames[table]);
    put_.emplace_back(table, key);
    return {};
  }

  // Rows put here are taken back one by one (arrays: zeroed); flows are whatever the path has written.
  Result<> clear() override {
    for (const auto& [table, key] : put_) {
      const bool array = bpf_map__type(map(table)) == BPF_MAP_TYPE_ARRAY;
      const Bytes zero(bpf_map__value_size(map(table)), '\0');
      if (array)
        bpf_map_update_elem(fd(table), key.data(), zero.data(), BPF_ANY);
      else
        bpf_map_delete_elem(fd(table), key.data());
    }
    put_.clear();
    for (const table_id table : {TABLE_flows, TABLE_opening, TABLE_affinities, TABLE_fragments})
      forget(table);
    const uint32_t zero = 0;  // a row without a put, too
    bpf_map_update_elem(fd(TABLE_host_serves), &zero, &zero, BPF_ANY);
    return {};
  }

  Result<Seen> run(origin from, const Bytes& packet, uint32_t) override {
    cpu_set_t before, first;
    CPU_ZERO(&first);
    sched_getaffinity(0, sizeof before, &before);
    CPU_SET(0, &first);
    sched_setaffinity(0, sizeof first, &first);  // the outcome is in this CPU's row
    Bytes out(packet.size() + 256, '\0');
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.data(), .data_out = out.data(),
                .data_size_in = static_cast<uint32_t>(packet.size()),
                .data_size_out = static_cast<uint32_t>(out.size()), .repeat = 1);
    const int code = bpf_prog_test_run_opts(program(from), &options);
    const int error = errno;
    sched_setaffinity(0, sizeof before, &before);
    if (code != 0) return fail_errno(error, "run {} bytes in the kernel", packet.size());
    out.resize(options.data_size_out);
    const Outcome outcome = last_outcome();
    return Seen{static_cast<verdict>(outcome.verdict), static_cast<drop_reason>(outcome.reason),
                static_cast<hop_kind>(outcome.verdict == REDIRECT ? outcome.to.kind : 0), out};
  }

 private:
  bpf_map* map(table_id table) const {
    return bpf_object__find_map_by_name(skeleton_->obj, kMapNames[table]);
  }
  int fd(table_id table) const {
    static_assert(std::size(kMapNames) == TABLES);
    if (fds_[table] < 0) fds_[table] = bpf_map__fd(map(table));
    return fds_[table];
  }

  void forget(table_id table) {
    Bytes key(bpf_map__key_size(map(table)), '\0');
    while (bpf_map_get_next_key(fd(table), nullptr, key.data()) == 0)
      bpf_map_delete_elem(fd(table), key.data());
  }

  int program(origin from) const {
    const std::array<bpf_program*, 5> programs = {skeleton_->progs.from_pod, skeleton_->progs.to_pod,
                                                  skeleton_->progs.from_uplink, skeleton_->progs.from_host,
                                                  skeleton_->progs.to_uplink};
    return bpf_program__fd(programs[from]);
  }

  Outcome last_outcome() const {
    std::vector<Outcome> all(static_cast<size_t>(libbpf_num_possible_cpus()));
    static_assert(sizeof(Outcome) % 8 == 0);  // per-CPU rows are laid out in steps of 8
    const uint32_t zero = 0;
    bpf_map_lookup_elem(bpf_map__fd(skeleton_->maps.tw_outcome), &zero, all.data());
    return all[0];
  }

  Skeleton skeleton_;
  mutable std::array<int, TABLES> fds_ = [] {
    std::array<int, TABLES> none;
    none.fill(-1);
    return none;
  }();
  std::vector<std::pair<table_id, Bytes>> put_;
};

}  // namespace

Result<std::unique_ptr<Engine>> kernel_engine() {
  auto skeleton = load();
  if (!skeleton) return std::unexpected(skeleton.error());
  return std::make_unique<KernelEngine>(std::move(*skeleton));
}

}  // namespace thalweg::packet
