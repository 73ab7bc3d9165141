#include "tests/packet/kernel_engine.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "bpf/tc.skel.h"
#include "bpf/xdp.skel.h"
#include "dataplane/ebpf/flow_table.h"
#include "tests/packet/world.h"
#include "tests/packet/xdp_node.h"

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

// What the path writes by itself, and gives up with time; also flows. Rows begin with when they were seen.
constexpr table_id kOutlived[] = {TABLE_affinities, TABLE_fragments};
static_assert(!offsetof(flow_row, flow.last_seen_ns) && !offsetof(affinity, last_seen_ns) &&
              !offsetof(fragment, seen_ns));

void make_older(Bytes& row, uint64_t ns) {
  uint64_t seen_ns;
  std::memcpy(&seen_ns, row.data(), sizeof seen_ns);
  seen_ns -= ns;
  std::memcpy(row.data(), &seen_ns, sizeof seen_ns);
}

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
    for (const table_id table : kOutlived)
      for (const Bytes& key : keys(table)) bpf_map_delete_elem(fd(table), key.data());
    TRY(forget_flows());
    const uint32_t zero = 0;  // rows without a put, too
    for (const table_id noted : {TABLE_host_serves, TABLE_passes_by})
      bpf_map_update_elem(fd(noted), &zero, &zero, BPF_ANY);
    return {};
  }

  uint64_t counted(uint32_t row) const override {
    std::vector<counter> all(static_cast<size_t>(libbpf_num_possible_cpus()));
    uint64_t packets = 0;
    if (bpf_map_lookup_elem(fd(TABLE_counters), &row, all.data()) == 0)
      for (const counter& each : all) packets += each.packets;
    return packets;
  }

  // This kernel's clock is not ours: instead, all that has been is made so much older.
  bool can_wait() const override { return true; }
  Result<> advance(uint32_t seconds) override {
    for (const table_id table : kOutlived)
      for (const Bytes& key : keys(table)) TRY(age(table, key, seconds * 1'000'000'000ull));
    return age_flows(seconds * 1'000'000'000ull);
  }

  Result<Seen> run(origin from, const Bytes& packet, uint32_t) override {
    return run_on(from, packet, kSenderIfindex);
  }
  // The interface must be in this thread's namespace.
  Result<Seen> run_on(origin from, const Bytes& packet, uint32_t ifindex) {
    cpu_set_t before, first;
    CPU_ZERO(&first);
    sched_getaffinity(0, sizeof before, &before);
    CPU_SET(0, &first);
    sched_setaffinity(0, sizeof first, &first);  // the outcome is in this CPU's row
    Bytes out(packet.size() + 256, '\0');
    __sk_buff context{};
    context.ifindex = ifindex;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.data(), .data_out = out.data(),
                .data_size_in = static_cast<uint32_t>(packet.size()),
                .data_size_out = static_cast<uint32_t>(out.size()), .ctx_in = &context,
                .ctx_size_in = sizeof context, .repeat = 1);
    const int code = bpf_prog_test_run_opts(program(from), &options);
    const int error = errno;
    sched_setaffinity(0, sizeof before, &before);
    if (code != 0) return fail_errno(error, "run {} bytes in the kernel", packet.size());
    out.resize(options.data_size_out);
    const Outcome outcome = last_outcome();
    return Seen{static_cast<verdict>(outcome.verdict), static_cast<drop_reason>(outcome.reason),
                static_cast<hop_kind>(outcome.verdict == REDIRECT ? outcome.to.kind : 0), out};
  }

  int fd(table_id table) const {
    static_assert(std::size(kMapNames) == TABLES);
    if (fds_[table] < 0) fds_[table] = bpf_map__fd(map(table));
    return fds_[table];
  }

 private:
  bpf_map* map(table_id table) const {
    return bpf_object__find_map_by_name(skeleton_->obj, kMapNames[table]);
  }
  std::vector<Bytes> keys(table_id table) const {
    std::vector<Bytes> all;
    Bytes next(bpf_map__key_size(map(table)), '\0');
    while (bpf_map_get_next_key(fd(table), all.empty() ? nullptr : all.back().data(), next.data()) == 0)
      all.push_back(next);
    return all;
  }
  Result<> age(table_id table, const Bytes& key, uint64_t ns) {
    Bytes row(bpf_map__value_size(map(table)), '\0');
    if (bpf_map_lookup_elem(fd(table), key.data(), row.data()) != 0) return {};
    make_older(row, ns);
    if (bpf_map_update_elem(fd(table), key.data(), row.data(), BPF_EXIST) == 0) return {};
    return fail_errno(errno, "age a row of {}", kMapNames[table]);
  }

  // As if none had ever been: also whose turn it is to give way.
  Result<> forget_flows() {
    flows_.reset();  // the secret goes, too
    if (!sets_) sets_ = TRY(dataplane::MappedArray::map(fd(TABLE_flow_sets)));
    for (uint32_t set = 0; set < sets_->entries(); ++set) std::memset(sets_->at(set), 0, sets_->row_bytes());
    return {};
  }
  Result<> age_flows(uint64_t ns) {
    if (!flows_)
      flows_ = TRY(dataplane::FlowTable::open(fd(TABLE_flow_secret), fd(TABLE_flow_sets), fd(TABLE_flows)));
    flows_->each(0, flows_->sets(), [&](uint32_t number, std::string row) {
      flows_->forget(number);
      make_older(row, ns);
      flows_->put(row, dataplane::FlowTable::is_opening(number));
    });
    return {};
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
  std::optional<dataplane::MappedArray> sets_;
  std::optional<dataplane::FlowTable> flows_;
};

// ---- XDP before tc

struct ObjectCloser {
  void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using ObjectPtr = std::unique_ptr<bpf_object, ObjectCloser>;

// The one built in, or a broken one (xdp_mutants.py).
ObjectPtr open_xdp() {
  if (const char* path = std::getenv("THALWEG_XDP_OBJECT"))
    return ObjectPtr(bpf_object__open_file(path, nullptr));
  size_t size = 0;
  const void* elf = xdp_bpf__elf_bytes(&size);
  return ObjectPtr(bpf_object__open_mem(elf, size, nullptr));
}

// The program on the other engine's tables.
Result<ObjectPtr> load_xdp(const KernelEngine& tc) {
  ObjectPtr object = open_xdp();
  if (!object) return fail_errno(errno, "open the XDP program");
  for (int table = 0; table < TABLES; ++table) {
    bpf_map* map = bpf_object__find_map_by_name(object.get(), kMapNames[table]);
    if (const int code = map ? bpf_map__reuse_fd(map, tc.fd(static_cast<table_id>(table))) : 0; code != 0)
      return fail_errno(-code, "share the table {}", kMapNames[table]);
  }
  if (const int code = bpf_object__load(object.get()); code != 0)
    return fail_errno(-code, "load the XDP program");
  return object;
}

class XdpBeforeTc : public XdpEngine {
 public:
  static Result<std::unique_ptr<XdpEngine>> make() {
    std::unique_ptr<XdpBeforeTc> engine(new XdpBeforeTc(TRY(load())));
    engine->xdp_ = TRY(load_xdp(engine->tc_));
    engine->node_.emplace(TRY(XdpNode::make("twt-x-packet", engine->program())));
    return engine;
  }

  std::string name() const override { return "XDP before tc"; }
  bool can_drop_for(drop_reason reason) const override { return tc_.can_drop_for(reason); }
  bool can_take(const Bytes& packet) const override { return tc_.can_take(packet); }
  Result<> put(table_id table, const Bytes& key, const Bytes& value) override {
    return tc_.put(table, key, value);
  }
  Result<> clear() override { return tc_.clear(); }
  bool can_wait() const override { return tc_.can_wait(); }
  Result<> advance(uint32_t seconds) override { return tc_.advance(seconds); }

  Result<Seen> run(origin from, const Bytes& packet, uint32_t) override {
    took_ = false;
    return node_->netns().run([&]() -> Result<Seen> {
      if (from != FROM_UPLINK) return tc_.run_on(from, packet, kSenderIfindex);
      auto sent = TRY(run_xdp(packet));
      if (!sent) return tc_.run_on(from, packet, kUplinkIfindex);
      took_ = true;
      return std::move(*sent);
    });
  }

  bool took() const override { return took_; }
  Result<> on_node(const std::string& command) override { return node_->command(command); }
  uint64_t counted(uint32_t row) const override { return tc_.counted(row); }

 private:
  explicit XdpBeforeTc(Skeleton tc) : tc_(std::move(tc)) {}
  int program() const { return bpf_program__fd(bpf_object__find_program_by_name(xdp_.get(), "at_uplink")); }

  // Nothing: it passes, untouched.
  Result<std::optional<Seen>> run_xdp(const Bytes& packet) {
    Bytes out;
    const RanXdp ran = TRY(packet::run_xdp(program(), packet, &out));
    if (ran.verdict == XDP_PASS && out == packet) return std::nullopt;
    if (ran.verdict != XDP_TX)
      return fail("XDP said {}{}", ran.verdict, out == packet ? "" : " and touched the packet");
    if (out.substr(0, 5) != kPeerMac || out.substr(6, 6) != kUplinkMac) return fail("XDP wrote other MACs");
    Seen seen{REDIRECT, DROP_NONE, hop_of(out), out};
    seen.bytes.replace(0, 12, packet, 0, 12);
    return seen;
  }
  static hop_kind hop_of(const Bytes& out) {
    if (out[5] == kRouter) return HOP_WORLD;
    const size_t ports = out.substr(12, 2) == std::string("\x08\0", 2) ? 34 : 54;
    const bool in_tunnel = out.size() > ports + 4 && out.substr(ports + 2, 2) == std::string("\x12\xb5", 2);
    return in_tunnel ? HOP_TUNNEL : HOP_DIRECT;
  }

  KernelEngine tc_;
  ObjectPtr xdp_;
  std::optional<XdpNode> node_;
  bool took_ = false;
};

}  // namespace

Result<std::unique_ptr<XdpEngine>> xdp_engine() { return XdpBeforeTc::make(); }

Result<std::unique_ptr<Engine>> kernel_engine() {
  auto skeleton = load();
  if (!skeleton) return std::unexpected(skeleton.error());
  return std::make_unique<KernelEngine>(std::move(*skeleton));
}

}  // namespace thalweg::packet
