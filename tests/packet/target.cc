#include "tests/packet/target.h"

#include <cstring>

namespace thalweg::packet {

namespace {

Rows world() {
  Rows rows = node() + endpoint("198.51.100.10", kSenderIfindex, 1) + endpoint("2001:db8:1::10") +
              endpoint("198.51.100.11", kOtherIfindex, 2) + rule_set(1, RULE_SET_ISOLATES_INGRESS) +
              rule_set(2, RULE_SET_ISOLATES_INGRESS | RULE_SET_ISOLATES_EGRESS) +
              allow(1, INGRESS, IDENTITY_ANY, kTcp) + allow(2, INGRESS, 5) +
              allow(2, EGRESS, IDENTITY_ANY, kUdp, 80) + identity("198.51.100.10", 5) +
              ip_block("203.0.113.0/25", 5) + route("198.51.100.128/26", ROUTE_DIRECT, "192.0.2.3");
  return rows + service("203.0.113.130", 80, kTcp, "198.51.100.70", 8080) +
         service("203.0.113.130", 80, kUdp, "198.51.100.11", 53) + service("203.0.113.131", 80, kTcp, "", 0) +
         service("192.0.2.1", 80, kTcp, "198.51.100.70", 8080, SERVICE_NODE_PORT) +
         service("192.0.2.1", 30080, kTcp, "192.0.2.1", 8080, SERVICE_NODE_PORT) +
         service("203.0.113.20", 80, kTcp, "198.51.100.10", 8080, SERVICE_LOAD_BALANCER) +
         FullService{
             .address = "203.0.113.131", .port = 53, .flags = SERVICE_CLUSTER_IP | SERVICE_INSIDE_LOCAL}
             .rows() +
         FullService{.address = "203.0.113.20",
                     .port = 8080,
                     .inside = {"198.51.100.10"},
                     .flags = SERVICE_LOAD_BALANCER,
                     .source_ranges = {"192.0.2.0/24"}}
             .rows() +
         service("2001:db8:f::1", 80, kTcp, "2001:db8:2::70", 8080);
}

std::string fault_of(const native_outcome& out, const native_packet& packet) {
  if (out.verdict < PASS || out.verdict > REDIRECT) return "no verdict";
  if (packet.start + uint64_t{packet.length} > packet.capacity) return "the packet left its buffer";
  if (out.reason >= DROP_REASONS) return "an unknown reason";
  if (out.verdict == DROP ? out.reason == DROP_NONE : out.verdict == PASS && out.reason != DROP_NONE)
    return "a drop without a reason, or a reason without";
  if (out.verdict == REDIRECT && (out.hop.kind == HOP_NONE || out.hop.kind > HOP_WORLD || !out.hop.ifindex))
    return "redirected nowhere";
  return "";
}

}  // namespace

Target::Target() : engine_(native_new()) {
  native_set_clock(
      engine_.get(), [](void* now) { return *static_cast<__u64*>(now); }, &now_ns_);
  native_seed(engine_.get(), 1);
  static const Rows rows = world();
  for (const PutRow& row : rows) change(row);
}

void Target::change(const PutRow& row) {
  if (row.value.empty())
    native_delete(engine_.get(), row.table, row.key.data());
  else
    native_put(engine_.get(), row.table, row.key.data(), row.value.data());
}

std::string Target::take(origin from, const Bytes& frame, uint32_t headroom) {
  const auto size = static_cast<uint32_t>(frame.size());
  const std::unique_ptr<uint8_t[]> buffer(new uint8_t[headroom + size]);
  std::memset(buffer.get(), 0xee, headroom);
  std::memcpy(buffer.get() + headroom, frame.data(), size);
  native_packet packet{buffer.get(), headroom + size, headroom, size, kSenderIfindex, from};
  const native_outcome out = native_run(engine_.get(), &packet);
  if (const std::string fault = fault_of(out, packet); !fault.empty()) return fault;
  verdicts_.insert(out.verdict);
  const bool is_hosts = from == TO_UPLINK && out.verdict == PASS && packet.length == size &&
                        std::memcmp(packet.buffer + packet.start, frame.data(), size) == 0;
  if (!is_hosts) ++ran_, bytes_ += size, ++seen_[out.reason];
  if (out.verdict != DROP)
    last_out_.assign(reinterpret_cast<const char*>(packet.buffer + packet.start), packet.length);
  return "";
}

std::string Target::counted() const {
  uint64_t packets = 0, bytes = 0;
  for (uint32_t row = 0; row < COUNTER_OPENING_PUSHED_OUT; ++row) {
    const auto* counter = static_cast<const ::counter*>(native_get(engine_.get(), TABLE_counters, &row));
    if (!counter) return "a counter is missing";
    if (counter->packets != (row < DROP_REASONS ? seen_[row] : 0))
      return "reason " + std::to_string(row) + " was not counted once a frame";
    packets += counter->packets;
    bytes += counter->bytes;
  }
  return packets == ran_ && bytes == bytes_ ? "" : "the counters do not add up";
}

}  // namespace thalweg::packet
