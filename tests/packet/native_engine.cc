#include "tests/packet/native_engine.h"

#include <cstring>

#include "bpf/port/native.h"

namespace thalweg::packet {

namespace {

__u64 read_clock(void* now_ns) { return *static_cast<__u64*>(now_ns); }

class NativeEngine : public Engine {
 public:
  NativeEngine() { start(); }
  ~NativeEngine() override { native_free(engine_); }
  std::string name() const override { return "native"; }

  Result<> put(table_id table, const Bytes& key, const Bytes& value) override {
    const int code = value.empty() ? native_delete(engine_, table, key.data())
                                   : native_put(engine_, table, key.data(), value.data());
    if (code != 0) return fail_errno(-code, "put a row of table {}", static_cast<int>(table));
    return {};
  }

  Result<> clear() override {
    native_free(engine_);
    start();
    return {};
  }

  uint64_t counted(uint32_t row) const override {
    const auto* counted = static_cast<const counter*>(native_get(engine_, TABLE_counters, &row));
    return counted ? counted->packets : 0;
  }

  void come_in_by(uint32_t ifindex) override { ifindex_ = ifindex; }
  bool can_choose_interface() const override { return true; }
  bool can_wait() const override { return true; }
  bool can_stop_time() const override { return true; }
  bool repeats() const override { return true; }
  Result<> advance(uint32_t seconds) override {
    now_ns_ += seconds * 1'000'000'000ull;
    return {};
  }

  Result<Seen> run(origin from, const Bytes& packet, uint32_t headroom) override {
    const std::unique_ptr<uint8_t[]> buffer(new uint8_t[headroom + packet.size()]);
    std::memset(buffer.get(), 0xee, headroom);
    std::memcpy(buffer.get() + headroom, packet.data(), packet.size());
    const auto size = static_cast<uint32_t>(packet.size());
    native_packet in{buffer.get(), headroom + size, headroom, size, ifindex_, from};
    const native_outcome out = native_run(engine_, &in);
    return Seen{out.verdict, out.reason,
                out.verdict == REDIRECT ? static_cast<hop_kind>(out.hop.kind) : HOP_NONE,
                Bytes(reinterpret_cast<const char*>(in.buffer + in.start), in.length)};
  }

 private:
  void start() {
    engine_ = native_new();
    native_set_clock(engine_, read_clock, &now_ns_);
    native_seed(engine_, 1);
  }
  uint32_t ifindex_ = 1;
  __u64 now_ns_ = 1'000'000'000'000;
  native* engine_ = nullptr;
};

}  // namespace

std::unique_ptr<Engine> native_engine() { return std::make_unique<NativeEngine>(); }

}  // namespace thalweg::packet
