// The table of flows under load: floods, and two CPUs at once in one of its sets.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>

#include "bpf/tc.skel.h"
#include "tests/packet/case_frames.h"
#include "tests/packet/kernel_engine.h"
#include "tests/packet/native_engine.h"

namespace thalweg::packet {
namespace {

constexpr uint32_t kSettled = 500, kFlood = 200'000;

Frame of_service(uint32_t number) {
  return {.from = kPod, .to = kVip, .from_port = static_cast<uint16_t>(1000 + number)};
}
Frame unanswered(uint32_t number) {
  return {.from = kPod,
          .to = kNeighbour,
          .from_port = static_cast<uint16_t>(1024 + number % 60'000),
          .to_port = static_cast<uint16_t>(number / 60'000)};
}

void put_all(Engine& engine, const Rows& rows) {
  for (const PutRow& row : rows) ASSERT_TRUE(engine.put(row.table, row.key, row.value));
}

// Every settled flow keeps its backend, though new ones would get another.
void survive_a_flood(Engine& engine) {
  ASSERT_TRUE(engine.clear());
  put_all(engine, pods() + service(kVip, 80, kTcp, kRemote, 8080));
  for (uint32_t i = 0; i < kSettled; ++i) {
    Frame sent = of_service(i);
    sent.to = kRemote, sent.to_port = 8080;
    ASSERT_EQ(engine.run(FROM_POD, of_service(i).bytes(), 128)->hop, HOP_TUNNEL);
    ASSERT_EQ(engine.run(FROM_UPLINK, from_tunnel(answer(sent)), 128)->hop, HOP_ENDPOINT);
  }
  put_all(engine, service(kVip, 80, kTcp, kNeighbour, 8080));
  for (uint32_t i = 0; i < kFlood; ++i)
    ASSERT_EQ(engine.run(FROM_POD, unanswered(i).bytes(), 128)->said, REDIRECT);
  for (uint32_t i = 0; i < kSettled; ++i) {
    Frame frame = of_service(i);
    frame.tcp_flags = kAck;
    ASSERT_EQ(engine.run(FROM_POD, frame.bytes(), 128)->hop, HOP_TUNNEL) << "flow " << i;
  }
  ASSERT_EQ(engine.run(FROM_POD, of_service(kSettled).bytes(), 128)->hop, HOP_ENDPOINT);
  EXPECT_EQ(engine.counted(COUNTER_SETTLED_PUSHED_OUT), 0u);
  EXPECT_GE(engine.counted(COUNTER_OPENING_PUSHED_OUT), kFlood - FLOW_SETS * (SET_WAYS - SETTLED_WAYS));
}

TEST(Flows, AFloodEndsNoSettledFlow) { survive_a_flood(*native_engine()); }

TEST(Flows, AFloodEndsNoSettledFlowInTheKernel) {
  const auto kernel = kernel_engine();
  if (!kernel) GTEST_SKIP() << kernel.error().message;
  survive_a_flood(**kernel);
}

// ---- two CPUs

// A service and where it must lead; or a port that policy denies.
struct Way {
  uint16_t port;
  const char* backend;  // nullptr: nowhere
};
constexpr Way kWays[] = {{80, "198.51.100.11"}, {81, "198.51.100.12"}, {82, "198.51.100.13"},
                         {83, nullptr},         {84, "198.51.100.14"}, {85, nullptr}};
constexpr uint32_t kAllowed = 4, kDenied = 4, kPortsOfClient = 16;

Rows world_of_ways() {
  Rows rows = node() + endpoint(kPod, kSenderIfindex, 4) + rule_set(4, RULE_SET_ISOLATES_EGRESS) +
              identity("198.51.100.99", kDenied + 1) + secret_of_likeness();
  for (const Way& way : kWays) {
    const std::string backend = way.backend != nullptr ? way.backend : "198.51.100.99";
    rows = std::move(rows) + service(kVip, way.port, kTcp, backend, 8000 + way.port);
    if (way.backend == nullptr) continue;
    rows = std::move(rows) + endpoint(backend, kSenderIfindex) + identity(backend, kAllowed + way.port) +
           allow(4, EGRESS, kAllowed + way.port, kTcp);
  }
  return std::move(rows) + endpoint("198.51.100.99", kSenderIfindex);
}

class Kernel {
 public:
  Kernel() : skeleton_(tc_bpf__open_and_load()) {}
  ~Kernel() {
    if (skeleton_ != nullptr) tc_bpf__destroy(skeleton_);
  }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  explicit operator bool() const { return skeleton_ != nullptr; }
  bool put(const PutRow& row) {
    constexpr const char* kNames[] = {
#define TABLE(name, kind, key, value, entries, writer) "tw_" #name,
#include "bpf/maps.def"
#undef TABLE
    };
    const int fd = bpf_object__find_map_fd_by_name(skeleton_->obj, kNames[row.table]);
    return bpf_map_update_elem(fd, row.key.data(), row.value.data(), BPF_ANY) == 0;
  }
  // What tc is told, and the frame as it leaves.
  std::pair<uint32_t, Bytes> run(const Bytes& packet) const {
    Bytes out(packet.size() + 64, '\0');
    __sk_buff context{};
    context.ifindex = kSenderIfindex;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.data(), .data_out = out.data(),
                .data_size_in = static_cast<uint32_t>(packet.size()),
                .data_size_out = static_cast<uint32_t>(out.size()), .ctx_in = &context,
                .ctx_size_in = sizeof context, .repeat = 1);
    if (bpf_prog_test_run_opts(bpf_program__fd(skeleton_->progs.from_pod), &options) != 0) return {~0u, ""};
    out.resize(options.data_size_out);
    return {options.retval, out};
  }

 private:
  tc_bpf* skeleton_;
};

struct Asked {
  Bytes frame;
  Bytes expected;  // where it must be addressed; empty: nowhere
};

// Destination address and port.
Bytes addressed(const Bytes& frame) { return frame.substr(30, 4) + frame.substr(36, 2); }

std::vector<Asked> everything_asked() {
  std::vector<Asked> all;
  for (const Way& way : kWays)
    for (uint32_t client = 0; client < kPortsOfClient; ++client)
      for (const uint8_t flags : {kSyn, kAck}) {
        Frame frame{.from = kPod,
                    .to = kVip,
                    .from_port = static_cast<uint16_t>(2000 + client),
                    .to_port = way.port,
                    .tcp_flags = flags};
        const Bytes bytes = frame.bytes();
        if (way.backend == nullptr) {
          all.push_back({bytes, ""});
          continue;
        }
        frame.to = way.backend, frame.to_port = static_cast<uint16_t>(8000 + way.port);
        all.push_back({bytes, addressed(frame.bytes())});
        all.push_back(
            {answer(frame).bytes(),
             addressed(answer({.from = kPod, .to = kVip, .from_port = frame.from_port, .to_port = way.port})
                           .bytes())});
      }
  return all;
}

// Answers whose question was pushed out are no answers; they may go nowhere, or on as what they are.
uint64_t wrong_ways(const Kernel& kernel, const std::vector<Asked>& all, uint32_t cpu,
                    const std::atomic<bool>& stop, std::atomic<uint64_t>& forwarded) {
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(cpu, &here);
  sched_setaffinity(0, sizeof here, &here);
  std::minstd_rand random(cpu + 1);
  uint64_t wrong = 0;
  while (!stop) {
    const Asked& one = all[random() % all.size()];
    const auto [code, out] = kernel.run(one.frame);
    constexpr uint32_t kRedirect = 7, kDrop = 2;
    if (code == kDrop) continue;
    if (code != kRedirect || one.expected.empty()) {
      ++wrong;
      continue;
    }
    ++forwarded;
    wrong += addressed(out) != one.expected && addressed(out) != addressed(one.frame);
  }
  return wrong;
}

TEST(Flows, TwoCpusInOneSetForwardNothingForbiddenAndNothingAstray) {
  Kernel kernel;
  if (!kernel) GTEST_SKIP() << "cannot load the programs";
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one CPU";
  for (const PutRow& row : world_of_ways()) ASSERT_TRUE(kernel.put(row));
  const std::vector<Asked> all = everything_asked();
  std::atomic<bool> stop = false;
  std::atomic<uint64_t> wrong = 0, forwarded = 0;
  std::vector<std::thread> cpus;
  for (const uint32_t cpu : {0u, 1u})
    cpus.emplace_back([&, cpu] { wrong += wrong_ways(kernel, all, cpu, stop, forwarded); });
  std::this_thread::sleep_for(std::chrono::seconds(2));
  stop = true;
  for (std::thread& cpu : cpus) cpu.join();
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(forwarded, 10'000u);
}

}  // namespace
}  // namespace thalweg::packet
