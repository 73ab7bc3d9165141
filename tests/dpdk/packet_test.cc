// Every packet case through the DPDK worker: bursts from memory ports, one for each way a packet can come,
// compared with the native engine in verdict, reason, hop and bytes.
#include <gtest/gtest.h>

#include "bpf/port/native.h"
#include "tests/dpdk/memory.h"
#include "tests/packet/case.h"
#include "tests/packet/native_engine.h"

namespace thalweg::packet {
namespace {

using namespace dataplane::dpdk;

__u64 read_clock(void* now_ns) { return *static_cast<__u64*>(now_ns); }

class DpdkEngine : public Engine {
 public:
  static Result<std::unique_ptr<DpdkEngine>> create() {
    auto engine = std::make_unique<DpdkEngine>();
    engine->pool_ = TRY(shared_pool());
    for (int from = FROM_POD; from <= TO_UPLINK; ++from)
      engine->ports_.push_back(TRY(MemoryPort::create(fmt::format("case{}", from), *engine->pool_, 64)));
    TRY(engine->clear());
    return engine;
  }
  std::string name() const override { return "dpdk"; }

  Result<> put(table_id table, const Bytes& key, const Bytes& value) override {
    native* engine = &worker_->engine();
    const int error = value.empty() ? native_delete(engine, table, key.data())
                                    : native_put(engine, table, key.data(), value.data());
    if (error != 0) return fail_errno(-error, "put a row of table {}", static_cast<int>(table));
    return {};
  }

  // A new worker has new tables.
  Result<> clear() override {
    Worker::Config config;
    config.finish_checksums = false;
    for (size_t from = 0; from < ports_.size(); ++from)
      config.ports.push_back({ports_[from].id(), static_cast<origin>(from), 1});
    worker_ = TRY(Worker::create(config, *pool_));
    native_set_clock(&worker_->engine(), read_clock, &now_ns_);
    native_seed(&worker_->engine(), 1);
    worker_->tap([this](const native_outcome& out, ConstFrame frame) {
      ++tapped_;
      seen_ = {out.verdict, out.reason,
               out.verdict == REDIRECT ? static_cast<hop_kind>(out.hop.kind) : HOP_NONE,
               Bytes(frame.begin(), frame.end())};
    });
    return {};
  }

  bool can_wait() const override { return true; }
  bool can_stop_time() const override { return true; }
  Result<> advance(uint32_t seconds) override {
    now_ns_ += seconds * 1'000'000'000ull;
    return {};
  }

  Result<Seen> run(origin from, const Bytes& packet, uint32_t headroom) override {
    const uint32_t free_before = pool_->available();
    rte_mbuf* mbuf = to_mbuf(*pool_, packet, headroom);
    tapped_ = 0;
    if (ports_[from].put(&mbuf, 1) != 1 || worker_->poll() != 1 || tapped_ != 1)
      return fail("the packet did not go through the worker once, but {} times", tapped_);
    if (pool_->available() + 1 < free_before) return fail("a packet buffer was lost");
    return seen_;
  }

 private:
  Pool* pool_ = nullptr;
  std::vector<MemoryPort> ports_;
  std::unique_ptr<Worker> worker_;
  __u64 now_ns_ = 1'000'000'000'000;
  Seen seen_;
  int tapped_ = 0;
};

class DpdkPacketCase : public testing::TestWithParam<size_t> {};

TEST_P(DpdkPacketCase, DoesAsNative) {
  static const auto engine = DpdkEngine::create();
  if (!engine) GTEST_SKIP() << engine.error().message;
  const Case& one = cases()[GetParam()];
  if (const std::string why = why_not(**engine, one); !why.empty()) GTEST_SKIP() << why << ": " << one.name;
  std::vector<Seen> native, dpdk;
  ASSERT_EQ(run_case(*native_engine(), one, &native), "") << one.name;
  ASSERT_EQ(run_case(**engine, one, &dpdk), "") << one.name;
  ASSERT_EQ(native.size(), dpdk.size());
  for (size_t i = 0; i < native.size(); ++i) {
    EXPECT_EQ(native[i].said, dpdk[i].said);
    EXPECT_EQ(native[i].reason, dpdk[i].reason);
    EXPECT_EQ(native[i].hop, dpdk[i].hop);
    EXPECT_EQ(native[i].bytes, dpdk[i].bytes) << one.name << ", packet " << i + 1;
  }
}

INSTANTIATE_TEST_SUITE_P(All, DpdkPacketCase, testing::Range<size_t>(0, cases().size()));

}  // namespace
}  // namespace thalweg::packet
