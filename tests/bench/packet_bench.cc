// What the path costs a packet, by BPF_PROG_TEST_RUN with a fresh packet each call: an established flow, a
// flow through a service, the first packet of a flow; an empty tc program beside them, in the same rounds (A
// B B A). scripts/bench runs it; one JSON object a line. Needs root.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "bpf/tc.skel.h"
#include "tests/packet/frame.h"
#include "tests/packet/world.h"

namespace thalweg::packet {
namespace {

constexpr int kRounds = 13, kCalls = 2000;
const std::string kPod = "198.51.100.10", kNeighbour = "198.51.100.11", kVip = "203.0.113.130";

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "packet_bench: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

// `return TC_ACT_OK`: what calling any program costs.
int empty_program() {
  const bpf_insn code[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  const int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "empty", "GPL", code, std::size(code), nullptr);
  if (fd < 0) give_up("load the empty program");
  return fd;
}

uint32_t run_ns(int program, const Bytes& packet) {
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.data(),
              .data_size_in = static_cast<uint32_t>(packet.size()), .repeat = 1);
  if (bpf_prog_test_run_opts(program, &options) != 0) give_up("run a packet");
  return options.duration;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The median of many calls, each with a packet made for it.
double round_ns(int program, const std::function<const Bytes&()>& next) {
  std::vector<double> calls;
  for (int i = 0; i < kCalls; ++i) calls.push_back(run_ns(program, next()));
  return median(calls);
}

struct Pair {
  double ours, theirs;
};

// A B B A: what drifts, drifts for both.
Pair beside_empty(int program, int empty, const std::function<const Bytes&()>& next) {
  std::vector<double> ours, theirs;
  for (int round = 0; round < kRounds; ++round) {
    const bool ours_first = round % 2 == 0;
    for (const bool mine : {ours_first, !ours_first, !ours_first, ours_first})
      (mine ? ours : theirs).push_back(round_ns(mine ? program : empty, next));
  }
  return {median(ours), median(theirs)};
}

void print(const char* metric, double ours, const std::string& peer, double theirs) {
  std::printf(
      "{\"bench\":\"packet\",\"metric\":\"%s\",\"unit\":\"ns\",\"ours\":%.1f,\"peer\":\"%s\",\"theirs\":%.1f,"
      "\"ratio\":%.3f}\n",
      metric, ours, peer.c_str(), theirs, theirs > 0 ? ours / theirs : 0.0);
}

void fill(tc_bpf* skeleton) {
  const Rows rows = node() + endpoint(kPod, kSenderIfindex, 1) + endpoint(kNeighbour, kOtherIfindex, 2) +
                    rule_set(1, RULE_SET_ISOLATES_EGRESS) + rule_set(2, RULE_SET_ISOLATES_INGRESS) +
                    allow(1, EGRESS, IDENTITY_ANY, kTcp) + allow(2, INGRESS, 5, kTcp, 80) +
                    identity(kPod, 5) + service(kVip, 80, kTcp, kNeighbour, 80);
  constexpr const char* kNames[] = {
#define TABLE(name, kind, key, value, entries, writer) "tw_" #name,
#include "bpf/maps.def"
#undef TABLE
  };
  for (const PutRow& row : rows) {
    const int fd = bpf_object__find_map_fd_by_name(skeleton->obj, kNames[row.table]);
    if (bpf_map_update_elem(fd, row.key.data(), row.value.data(), BPF_ANY) != 0) give_up(kNames[row.table]);
  }
}

// Which LRU insert costs what: the map's own update, from user space, would measure the system call. So: a
// program that does nothing but one update of an LRU of the same row sizes, with the key taken from a counter
// it keeps in the row itself.
int insert_program(int lru, int counter) {
  const bpf_insn code[] = {
      {.code = BPF_ST | BPF_MEM | BPF_W, .dst_reg = 10, .src_reg = 0, .off = -4, .imm = 0},
      {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10, .off = 0, .imm = 0},
      {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .src_reg = 0, .off = 0, .imm = -4},
      {.code = BPF_LD | BPF_IMM | BPF_DW,
       .dst_reg = 1,
       .src_reg = BPF_PSEUDO_MAP_FD,
       .off = 0,
       .imm = counter},
      {.code = 0, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_map_lookup_elem},
      {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 10, .imm = 0},
      {.code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = 1, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 1, .src_reg = 0, .off = 0, .imm = 1},
      {.code = BPF_STX | BPF_MEM | BPF_DW, .dst_reg = 0, .src_reg = 1, .off = 0, .imm = 0},
      {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 3, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .off = 0, .imm = lru},
      {.code = 0, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 4, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_map_update_elem},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  };
  const int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "insert", "GPL", code, std::size(code), nullptr);
  if (fd < 0) give_up("load the inserting program");
  return fd;
}

int make_insert_program() {
  const int lru =
      bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "bench_lru", sizeof(flow_key), sizeof(flow), 262144, nullptr);
  const int counter = bpf_map_create(BPF_MAP_TYPE_ARRAY, "bench_count", 4,
                                     std::max(sizeof(flow_key), sizeof(flow)), 1, nullptr);
  if (lru < 0 || counter < 0) give_up("make the LRU to compare with");
  return insert_program(lru, counter);
}

// The same frame to another port each time, so that no flow is met twice.
class NewFlows {
 public:
  const Bytes& operator()() {
    frame_.from_port = static_cast<uint16_t>(1024 + number_ % 60000);
    ++number_;
    bytes_ = frame_.bytes();
    return bytes_;
  }

 private:
  Frame frame_{.from = kPod, .to = kNeighbour};
  uint32_t number_ = 0;
  Bytes bytes_;
};

void forget_flows(tc_bpf* skeleton) {
  const int fd = bpf_map__fd(skeleton->maps.tw_flows);
  flow_key key;
  while (bpf_map_get_next_key(fd, nullptr, &key) == 0) bpf_map_delete_elem(fd, &key);
}

int main_() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(0, &one);
  sched_setaffinity(0, sizeof one, &one);
  tc_bpf* skeleton = tc_bpf__open_and_load();
  if (!skeleton) give_up("load the tc programs (root?)");
  fill(skeleton);
  const int path = bpf_program__fd(skeleton->progs.from_pod), empty = empty_program();
  utsname system{};
  uname(&system);
  const std::string peer = std::string("empty tc program (kernel ") + system.release + ")";

  const Bytes plain = Frame{.from = kPod, .to = kNeighbour, .from_port = 999}.bytes();
  const Bytes to_service = Frame{.from = kPod, .to = kVip, .from_port = 998}.bytes();
  const auto measure = [&](const char* metric, const Bytes& packet) {
    run_ns(path, packet);  // the first decides and remembers
    const Pair pair = beside_empty(path, empty, [&]() -> const Bytes& { return packet; });
    print(metric, pair.ours, peer, pair.theirs);
  };
  measure("established_ns", plain);
  measure("service_ns", to_service);

  NewFlows flows;
  std::vector<double> ours, theirs, inserts;
  const int insert = make_insert_program();
  for (int round = 0; round < kRounds; ++round) {
    forget_flows(skeleton);
    const auto measure_ours = [&] {
      ours.push_back(round_ns(path, [&]() -> const Bytes& { return flows(); }));
    };
    const auto measure_theirs = [&] {
      theirs.push_back(round_ns(empty, [&]() -> const Bytes& { return flows(); }));
      inserts.push_back(round_ns(insert, [&]() -> const Bytes& { return flows(); }));
    };
    measure_ours(), measure_theirs(), measure_theirs(), measure_ours();
  }
  print("newflow_ns", median(ours), peer, median(theirs));
  print("newflow_over_insert", median(ours) - median(theirs),
        "one insert into an LRU of the same rows, both less the empty program",
        median(inserts) - median(theirs));
  tc_bpf__destroy(skeleton);
  return 0;
}

}  // namespace
}  // namespace thalweg::packet

int main() { return thalweg::packet::main_(); }
