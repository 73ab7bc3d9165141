// What the path costs a packet, by BPF_PROG_TEST_RUN with a fresh packet each call: an established flow, a
// service's, one of 100,000, the first packet of a flow; at tc, and at the uplink's XDP. An empty program
// runs in the same rounds (A B B A), and what it takes is taken off. scripts/bench runs it; one JSON object a
// line. Needs root.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "bpf/tc.skel.h"
#include "bpf/xdp.skel.h"
#include "tests/packet/frame.h"
#include "tests/packet/world.h"
#include "tests/packet/xdp_node.h"

namespace thalweg::packet {
namespace {

constexpr int kRounds = 13, kCalls = 2000, kFound = 7;
constexpr uint32_t kFewPolicies = 10, kManyPolicies = 10'000, kManyFlows = 100'000;
const std::string kPod = "198.51.100.10", kNeighbour = "198.51.100.11", kVip = "203.0.113.130",
                  kBalanced = "203.0.113.131", kRemoteVip = "203.0.113.132", kRemote = "198.51.100.70",
                  kThis = "192.0.2.1", kWorld = "203.0.113.9";

[[noreturn]] void give_up(const char* what) {
  std::fprintf(stderr, "packet_bench: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

// `return TC_ACT_OK`, or XDP_PASS: what calling any program costs.
int empty_program(bpf_prog_type type = BPF_PROG_TYPE_SCHED_CLS) {
  const int passes = type == BPF_PROG_TYPE_XDP ? XDP_PASS : 0;
  const bpf_insn code[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = passes},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  const int fd = bpf_prog_load(type, "empty", "GPL", code, std::size(code), nullptr);
  if (fd < 0) give_up("load the empty program");
  return fd;
}

struct Ran {
  uint32_t ns = 0;
  uint32_t code = 0;  // TC_ACT_*
};

// came_in: by which interface, for a program at the way out; at: where it is, the loopback if nothing is
// said.
Ran run_once(int program, const Bytes& packet, uint32_t came_in = 0, uint32_t at = 0) {
  __sk_buff context{};
  context.ingress_ifindex = came_in;
  context.ifindex = at;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.data(),
              .data_size_in = static_cast<uint32_t>(packet.size()), .ctx_in = &context,
              .ctx_size_in = sizeof context, .repeat = 1);
  if (bpf_prog_test_run_opts(program, &options) != 0) give_up("run a packet");
  return {options.duration, options.retval};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

using Next = std::function<const Bytes&()>;

struct Side {
  int program;
  Next next;
  uint32_t came_in = 0;
  uint32_t at = 0;
  bool is_xdp = false;
};

uint32_t call_ns(const Side& side, const Bytes& packet) {
  if (!side.is_xdp) return run_once(side.program, packet, side.came_in, side.at).ns;
  const auto ran = run_xdp(side.program, packet);
  if (!ran) give_up("run a packet through XDP");
  return ran->ns;
}

// The median of many calls, each with a packet made for it.
double round_ns(const Side& side) {
  std::vector<double> calls;
  for (int i = 0; i < kCalls; ++i) calls.push_back(call_ns(side, side.next()));
  return median(calls);
}

// All sides in turn, there and back, so that what drifts drifts for all; the median of each.
std::vector<double> in_turn(const std::vector<Side>& sides) {
  std::vector<std::vector<double>> seen(sides.size());
  for (int round = 0; round < kRounds; ++round)
    for (size_t step = 0; step < 2 * sides.size(); ++step) {
      const size_t at = step < sides.size() ? step : 2 * sides.size() - 1 - step;
      seen[at].push_back(round_ns(sides[at]));
    }
  std::vector<double> out;
  for (auto& of : seen) out.push_back(median(of));
  return out;
}

void print(const char* metric, double ours, const std::string& peer, double theirs) {
  std::printf(
      "{\"bench\":\"packet\",\"metric\":\"%s\",\"unit\":\"ns\",\"ours\":%.1f,\"peer\":\"%s\",\"theirs\":%.1f,"
      "\"ratio\":%.3f}\n",
      metric, ours, peer.c_str(), theirs, theirs > 0 ? ours / theirs : 0.0);
}

// ---- the path with its tables

Rows policies(uint32_t number) {
  Rows rows;
  for (uint32_t policy = 0; policy < number; ++policy) {
    const uint32_t set = 3 + policy % 4000, peer = 100 + policy;
    rows = std::move(rows) + rule_set(set, RULE_SET_ISOLATES_INGRESS) + allow(set, INGRESS, peer, kTcp, 80) +
           allow(set, INGRESS, peer, kTcp, 443) +
           identity("198.18." + std::to_string(policy / 250) + "." + std::to_string(policy % 250), peer);
  }
  return rows;
}

Rows world(uint32_t other_policies) {
  return node() + endpoint(kPod, kSenderIfindex, 1) + endpoint(kNeighbour, kSenderIfindex, 2) +
         rule_set(1, RULE_SET_ISOLATES_EGRESS) + rule_set(2, RULE_SET_ISOLATES_INGRESS) +
         allow(1, EGRESS, IDENTITY_ANY, kTcp) + allow(2, INGRESS, IDENTITY_ANY, kTcp) + identity(kPod, 5) +
         service(kVip, 80, kTcp, kNeighbour, 80) + service(kRemoteVip, 80, kTcp, kRemote, 80) +
         service(kThis, 30080, kTcp, kThis, 8080, SERVICE_NODE_PORT) +
         service(kThis, 30081, kTcp, kRemote, 8080, SERVICE_NODE_PORT) +
         service(kBalanced, 80, kTcp, kNeighbour, 80, SERVICE_LOAD_BALANCER | SERVICE_OUTSIDE_LOCAL) +
         policies(other_policies);
}

class Path {
 public:
  explicit Path(uint32_t other_policies) : skeleton_(tc_bpf__open_and_load()) {
    if (!skeleton_) give_up("load the tc programs (root?)");
    for (const PutRow& row : world(other_policies)) put(row);
  }
  ~Path() { tc_bpf__destroy(skeleton_); }
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

  void put(const PutRow& row) {
    constexpr const char* kNames[] = {
#define TABLE(name, kind, key, value, entries, writer) "tw_" #name,
#include "bpf/maps.def"
#undef TABLE
    };
    const int fd = bpf_object__find_map_fd_by_name(skeleton_->obj, kNames[row.table]);
    if (bpf_map_update_elem(fd, row.key.data(), row.value.data(), BPF_ANY) != 0) give_up(kNames[row.table]);
  }

  int from_pod() const { return bpf_program__fd(skeleton_->progs.from_pod); }
  int from_uplink() const { return bpf_program__fd(skeleton_->progs.from_uplink); }
  int to_uplink() const { return bpf_program__fd(skeleton_->progs.to_uplink); }

  // Opens the flow as TCP does, the answer coming by `back`; a packet in the middle of it.
  Bytes establish(int program, Frame frame, int back, const Bytes& answer) {
    for (const auto& [by, bytes] : {std::pair{program, frame.bytes()}, {back, answer}})
      must_forward(by, bytes);
    frame.tcp_flags = kAck;
    must_forward(program, frame.bytes());
    return frame.bytes();
  }

  const bpf_object* tables() const { return skeleton_->obj; }
  int flows() const { return bpf_map__fd(skeleton_->maps.tw_flows); }
  static uint32_t opening_rows() { return FLOW_SETS * (SET_WAYS - SETTLED_WAYS); }

 private:
  // A figure of packets that were dropped would be a lie.
  static void must_forward(int program, const Bytes& packet) {
    constexpr uint32_t kRedirect = 7;  // TC_ACT_REDIRECT
    if (run_once(program, packet).code == kRedirect) return;
    std::fprintf(stderr, "packet_bench: the path did not forward a packet of the scene\n");
    std::exit(1);
  }

  tc_bpf* skeleton_;
};

Bytes answer_to(const Frame& frame, const std::string& backend) {
  Frame back = frame;
  back.from = backend;
  back.to = frame.from;
  std::swap(back.from_port, back.to_port);
  back.tcp_flags = kSyn | kAck;
  return back.bytes();
}

// The same answer as it comes from the other node.
Bytes tunnelled(const Bytes& answer) { return Tunnel{.from = "192.0.2.2", .to = "192.0.2.1"}.around(answer); }

Next always(Bytes packet) {
  return [packet = std::move(packet)]() -> const Bytes& { return packet; };
}

Frame balanced(uint32_t client) {
  const std::string address =
      "198.18." + std::to_string(client / 250 % 250) + "." + std::to_string(1 + client % 250);
  return Frame{.from = address, .to = kBalanced, .from_port = static_cast<uint16_t>(2000 + client / 62500)};
}

// Each of the flows in turn, in no order a cache could guess. All are met before each round, so that what is
// measured is a busy flow's packet and not one that wakes an idle flow.
Next many_balanced(Path& path) {
  auto packets = std::make_shared<std::vector<Bytes>>();
  for (uint32_t client = 0; client < kManyFlows; ++client) {
    const Frame frame = balanced(client);
    packets->push_back(
        path.establish(path.from_uplink(), frame, path.from_pod(), answer_to(frame, kNeighbour)));
  }
  return [packets, program = path.from_uplink(), at = size_t{0}]() mutable -> const Bytes& {
    if (at % kCalls == 0)
      for (const Bytes& packet : *packets) run_once(program, packet);
    return (*packets)[at++ * 61'803 % packets->size()];
  };
}

// ---- one lookup in a table of the kernel's, beside which a packet among many flows stands

// Looks the key behind the packet's Ethernet header up, and reads a byte of the row.
int lookup_program(int table) {
  constexpr int kKey = sizeof(flow_key);
  const bpf_insn code[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .src_reg = 0, .off = 0, .imm = 14},
      {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 3, .src_reg = 10, .off = 0, .imm = 0},
      {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 3, .src_reg = 0, .off = 0, .imm = -kKey},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 4, .src_reg = 0, .off = 0, .imm = kKey},
      {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_skb_load_bytes},
      {.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 7, .imm = 0},
      {.code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 2, .src_reg = 10, .off = 0, .imm = 0},
      {.code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = 2, .src_reg = 0, .off = 0, .imm = -kKey},
      {.code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .off = 0, .imm = table},
      {.code = 0, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
      {.code = BPF_JMP | BPF_CALL, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = BPF_FUNC_map_lookup_elem},
      {.code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 2, .imm = 0},
      {.code = BPF_LDX | BPF_MEM | BPF_B, .dst_reg = 0, .src_reg = 0, .off = 100, .imm = 0},
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = kFound},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
  };
  const int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "lookup", "GPL", code, std::size(code), nullptr);
  if (fd < 0) give_up("load the looking program");
  return fd;
}

// The kernel's own table with the same flows: an LRU, as whoever does without a table like the path's has.
struct KernelTable {
  int map;
  std::vector<Bytes> keys;
};
KernelTable kernel_table_of(int flows) {
  constexpr uint32_t kRows = 262'144;
  KernelTable table{.map = bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "bench_flows", sizeof(flow_key),
                                          sizeof(flow), kRows, nullptr),
                    .keys = {}};
  if (table.map < 0) give_up("make the LRU to look up in");
  flow_row row{};
  for (uint32_t index = 0; index < FLOW_SETS * SET_WAYS; ++index) {
    if (bpf_map_lookup_elem(flows, &index, &row) != 0) give_up("read the flows");
    if (row.stamp == 0) continue;
    if (bpf_map_update_elem(table.map, &row.key, &row.flow, BPF_ANY) != 0) give_up("fill the LRU");
    table.keys.push_back(raw(row.key));
  }
  if (table.keys.size() < kManyFlows) give_up("find the flows there are");
  return table;
}

Next keys_of(const KernelTable& table, int program) {
  auto packets = std::make_shared<std::vector<Bytes>>();
  for (const Bytes& key : table.keys) {
    packets->push_back(Bytes(14, '\0') + key);
    if (run_once(program, packets->back()).code != kFound) give_up("look up a flow that there is");
  }
  return [packets, at = size_t{0}]() mutable -> const Bytes& {
    return (*packets)[at++ * 61'803 % packets->size()];
  };
}

// ---- one insert, beside which the first packet of a flow stands

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

int make_insert_program(uint32_t rows) {
  const int lru =
      bpf_map_create(BPF_MAP_TYPE_LRU_HASH, "bench_lru", sizeof(flow_key), sizeof(flow), rows, nullptr);
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
    frame_.to_port = static_cast<uint16_t>(1024 + number_ / 60000);
    ++number_;
    bytes_ = frame_.bytes();
    return bytes_;
  }

 private:
  Frame frame_{.from = kPod, .to = kNeighbour};
  uint32_t number_ = 0;
  Bytes bytes_;
};

std::string empty_peer() {
  utsname system{};
  uname(&system);
  return std::string("the empty tc program taken off (kernel ") + system.release + ")";
}

void measure_flows(Path& few, Path& many, int empty) {
  const int pod = few.from_pod(), uplink = few.from_uplink();
  const Frame plain{.from = kPod, .to = kNeighbour, .from_port = 999};
  const Frame to_service{.from = kPod, .to = kVip, .from_port = 998};
  const Frame to_remote{.from = kPod, .to = kRemoteVip, .from_port = 997};
  const Frame hot = balanced(kManyFlows + 1);
  const Bytes one = few.establish(pod, plain, pod, answer_to(plain, kNeighbour));
  many.establish(many.from_pod(), plain, many.from_pod(), answer_to(plain, kNeighbour));
  const Next balanced_flows = many_balanced(few);
  const KernelTable kernel_table = kernel_table_of(few.flows());
  const int lookup = lookup_program(kernel_table.map);
  const auto seen = in_turn({
      {empty, always(one)},
      {pod, always(one)},
      {many.from_pod(), always(one)},
      {pod, always(few.establish(pod, to_service, pod, answer_to(to_service, kNeighbour)))},
      {uplink, always(few.establish(uplink, hot, pod, answer_to(hot, kNeighbour)))},
      {pod, always(few.establish(pod, to_remote, uplink, tunnelled(answer_to(to_remote, kRemote))))},
      {uplink, balanced_flows},
      {lookup, keys_of(kernel_table, lookup)},
  });
  const double none = seen[0];
  const std::string peer = empty_peer();
  print("established_ns", seen[1] - none, peer, none);
  print("established_10k_policies_ns", seen[2] - none, "among 10 policies", seen[1] - none);
  print("service_ns", seen[3] - none, peer, none);
  print("lb_hot_ns", seen[4] - none, peer, none);
  print("lb_hot_tunnelled_ns", seen[5] - none, peer, none);
  print("lb_100k_ns", seen[6] - none, peer, none);
  print("lb_100k_over_lookup", seen[6] - none,
        "one lookup of as many keys in an LRU, the empty program taken off", seen[7] - none);
}

// What every packet pays that leaves by the uplink: the path's own, the host's, and a service's answer.
void measure_uplink(Path& path, int empty) {
  const int out = path.to_uplink();
  const Frame own{.from = kThis, .to = kWorld, .tcp_flags = kAck};
  const Frame asked{.from = kWorld, .to = kThis, .to_port = 30080};
  const Frame answer{.from = kThis, .to = kWorld, .from_port = 8080, .to_port = 40000, .tcp_flags = kAck};
  const auto unserved =
      in_turn({{empty, always(own.bytes())}, {out, always(own.bytes()), 1}, {out, always(own.bytes())}});
  for (const auto& [program, bytes] : {std::pair{path.from_uplink(), asked.bytes()}, {out, answer.bytes()}})
    run_once(program, bytes);
  const auto serving =
      in_turn({{empty, always(own.bytes())}, {out, always(own.bytes())}, {out, always(answer.bytes())}});
  const std::string peer = empty_peer();
  print("uplink_passed_over_ns", unserved[1] - unserved[0], peer, unserved[0]);
  print("uplink_host_ns", unserved[2] - unserved[0], peer, unserved[0]);
  print("uplink_host_beside_services_ns", serving[1] - serving[0], peer, serving[0]);
  print("uplink_host_answer_ns", serving[2] - serving[0], peer, serving[0]);
}

// ---- XDP at the uplink, over the same tables

xdp_bpf* load_xdp(const Path& path) {
  xdp_bpf* skeleton = xdp_bpf__open();
  if (!skeleton) give_up("open the XDP program");
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    const int shared = bpf_object__find_map_fd_by_name(path.tables(), bpf_map__name(map));
    if (shared >= 0 && bpf_map__reuse_fd(map, shared) != 0) give_up("share a table with XDP");
  }
  if (xdp_bpf__load(skeleton) != 0) give_up("load the XDP program");
  return skeleton;
}

// A service's flow from the world to another node and back, by tunnel; and one that tc alone takes, to a pod
// here.
struct Passing {
  Bytes onwards, back, to_pod;
};
Passing open_passing(Path& path) {
  Frame asked{
      .from = kWorld, .to = kThis, .from_port = 996, .to_port = 30081, .payload = std::string(100, 'x')};
  Frame answer{.from = kRemote,
               .to = kThis,
               .from_port = 8080,
               .to_port = kMasqueradePort,
               .tcp_flags = kSyn | kAck,
               .payload = asked.payload};
  Frame own{.from = kRemote, .to = kPod, .from_port = 995};
  for (const Bytes& bytes : {asked.bytes(), tunnelled(answer.bytes()), tunnelled(own.bytes())})
    run_once(path.from_uplink(), bytes, 0, kUplinkIfindex);
  asked.tcp_flags = answer.tcp_flags = own.tcp_flags = kAck;
  return {asked.bytes(), tunnelled(answer.bytes()), tunnelled(own.bytes())};
}

void must_send(int program, const Bytes& packet, uint32_t verdict) {
  const auto ran = run_xdp(program, packet);
  if (ran && ran->verdict == verdict) return;
  std::fprintf(stderr, "packet_bench: XDP came to another verdict about a packet of the scene\n");
  std::exit(1);
}

// Both less their own empty program. What tc needs before and after its program (an skb, the next hop) is not
// in its figure; XDP's holds the next hop, and there is no skb.
void measure_xdp(Path& path, int empty) {
  xdp_bpf* skeleton = load_xdp(path);
  const int xdp = bpf_program__fd(skeleton->progs.at_uplink), tc = path.from_uplink();
  auto node = XdpNode::make("twb-xdp", xdp);
  if (!node) give_up(node.error().message.c_str());
  const auto done = node->netns().run([&]() -> Result<> {
    const int empty_xdp = empty_program(BPF_PROG_TYPE_XDP);
    // Attached, as ours is: only then the kernel calls it directly.
    const Fd attached(bpf_link_create(empty_xdp, static_cast<int>(if_nametoindex("up1")), BPF_XDP, nullptr));
    if (!attached) give_up("attach the empty XDP program");
    const Next own = always(Frame{.from = kWorld, .to = kThis, .tcp_flags = kAck}.bytes());
    path.put(passes_by(0));  // pods and uplink are one interface in the scenes before
    const auto idle = in_turn({{empty_xdp, own, 0, 0, true}, {xdp, own, 0, 0, true}});
    print("xdp_idle_ns", idle[1] - idle[0], "the empty XDP program taken off: nothing has passed by yet",
          idle[0]);
    const Passing scene = open_passing(path);
    must_send(xdp, scene.onwards, XDP_TX);
    must_send(xdp, scene.back, XDP_TX);
    must_send(xdp, scene.to_pod, XDP_PASS);
    std::vector<Side> sides = {{empty, always(scene.onwards), 0, kUplinkIfindex},
                               {empty_xdp, always(scene.onwards), 0, 0, true}};
    for (const Bytes& bytes : {scene.onwards, scene.back, scene.to_pod}) {
      sides.push_back({tc, always(bytes), 0, kUplinkIfindex});
      sides.push_back({xdp, always(bytes), 0, 0, true});
    }
    const auto seen = in_turn(sides);
    const char* metrics[] = {"xdp_lb_ns", "xdp_answer_ns", "xdp_passed_over_ns"};
    for (size_t i = 0; i < std::size(metrics); ++i)
      print(metrics[i], seen[2 * i + 3] - seen[1],
            "the same packet in tc's program, before and after which come the skb and the next hop",
            seen[2 * i + 2] - seen[0]);
    return {};
  });
  if (!done) give_up(done.error().message.c_str());
  xdp_bpf__destroy(skeleton);
}

void measure_new_flows(Path& path, int empty) {
  NewFlows flows;
  std::vector<double> ours, theirs, inserts;
  const uint32_t rows = path.opening_rows();
  const int insert = make_insert_program(rows);
  const Next next = [&]() -> const Bytes& { return flows(); };
  // Both tables have long been full: an insert into one that never was costs less, into one with holes more.
  for (uint32_t i = 0; i < 2 * rows; ++i) {
    run_once(path.from_pod(), next());
    run_once(insert, next());
  }
  for (int round = 0; round < kRounds; ++round) {
    for (const bool mine : {true, false, false, true}) {
      if (mine) {
        ours.push_back(round_ns({path.from_pod(), next}));
        continue;
      }
      theirs.push_back(round_ns({empty, next}));
      inserts.push_back(round_ns({insert, next}));
    }
  }
  const double none = median(theirs);
  print("newflow_ns", median(ours) - none, empty_peer(), none);
  print("newflow_over_insert", median(ours) - none,
        "one insert into an LRU of the same rows, both less the empty program", median(inserts) - none);
}

int main_() {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(0, &one);
  sched_setaffinity(0, sizeof one, &one);
  const int empty = empty_program();
  Path few(kFewPolicies), many(kManyPolicies);
  measure_flows(few, many, empty);
  measure_uplink(few, empty);
  measure_xdp(few, empty);
  measure_new_flows(few, empty);
  return 0;
}

}  // namespace
}  // namespace thalweg::packet

int main() { return thalweg::packet::main_(); }
