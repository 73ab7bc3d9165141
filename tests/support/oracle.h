// Oracle: what the packet path means, said in the plainest way. Every table is a list that is searched from
// end to end, every packet is decided afresh, checksums come from building the packet anew.
// tests/packet/random_test.cc compares.
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "tests/packet/frame.h"
#include "tests/packet/world.h"

namespace thalweg::packet {

// A packet before it is bytes: who sent which frame, and the node whose tunnel it came through (empty: none).
struct Sent {
  origin from;
  Frame frame;
  std::string outer;
  std::optional<Frame> about = {};  // an ICMP error: the frame it quotes
  uint32_t ifindex = kSenderIfindex;
  Bytes bytes() const;
};

struct Answer {
  verdict said;
  drop_reason reason = DROP_NONE;
  hop_kind hop = HOP_NONE;
  Frame frame;         // as it leaves, inside the tunnel if there is one
  std::string peer;    // HOP_TUNNEL: to which node
  Bytes error;         // an ICMP error in place of the frame
  size_t choices = 1;  // how many of them there are: backends it could have been
  Bytes bytes() const;
};

class Oracle {
 public:
  // What packets have left behind. Where a backend is chosen by chance there is one for each choice.
  struct State;
  struct Flow;

  Oracle();
  ~Oracle();
  void put(const PutRow& row);  // without a value: it goes
  void advance(uint64_t seconds) { now_s_ += seconds; }
  // Decides a packet that comes after those that left `state`, and changes it. `choice` says which of the
  // backends is taken where chance would say it.
  Answer run(State& state, const Sent& sent, size_t choice);

 private:
  struct Way {           // a packet on its way
    const Sent& sent;    // a fragment with its ports; an ICMP error as the answer to what it quotes
    Frame frame;         // as it will leave
    bool plain = true;   // such that its sender may be told
    bool known = false;  // belongs to a flow seen before
    bool reply = false, nat = false;
    bool dsr =
        false;  // the backend's node answers its client; without nat: that is another, and `frame` says where
    uint32_t moved = 0;
  };

  template <class K, class V>
  const PutRow* find(table_id table, auto&& matches) const;
  const ::route* route_of(const std::string& address) const;
  const ::endpoint* endpoint_of(const std::string& address) const;
  uint32_t identity_of(const std::string& address) const;
  const ::service* service_of(const Frame& frame, bool any_port) const;

  // oracle_flows.cc
  bool is_alive(const Flow& flow, const Frame& frame) const;
  bool has_expired(const Flow& flow) const;
  Flow* flow_of(const Frame& frame);
  void end_answers_of_host(const Frame& frame);
  void touch(Flow& flow, const Way& way);
  void remember(const Way& way);
  drop_reason read_fragment(Sent& sent);

  // oracle_services.cc
  bool serves(const Frame& asked, const ::service& service, bool outside, const ::backend& backend) const;
  bool may_ask(const Frame& asked) const;
  std::vector<uint32_t> slots_for(const Frame& asked, const ::service& service, bool outside) const;
  const ::backend* backend_at(const Frame& asked, const ::service& service, bool outside,
                              uint32_t slot) const;
  std::optional<::backend> same_as_before(const Frame& asked, const ::service& service, bool outside);
  std::optional<::backend> pick(const Frame& asked, const ::service& service, bool outside);
  drop_reason choose_backend(Way& way);
  uint32_t moved_of(const std::string& address, uint16_t port) const;
  bool must_begin_again(const Flow& flow, Way& way) const;

  Answer run_read(const Sent& sent, bool plain);
  Answer expire(const Way& way, Flow* flow);
  Answer leave_host(const Way& way, Flow* flow);
  drop_reason find_hop(const Way& way, Answer& answer) const;
  bool source_belongs(const Way& way) const;
  drop_reason policy(const Way& way) const;
  bool allows(const Way& way, uint32_t set, direction direction, const std::string& peer) const;
  bool is_taken(const Way& way) const;
  bool is_asked_the_other_way(const Way& way) const;
  bool is_left_here(const Sent& sent, const ::service& service) const;
  bool is_here(const std::string& address) const;
  bool is_node(const std::string& address) const;
  bool masquerades() const;
  drop_reason masquerade(Way& way, hop_kind hop);
  bool is_told(const Way& way, drop_reason reason) const;
  Answer refuse(const Way& way, drop_reason reason) const;
  Answer leave(const Way& way, Answer answer) const;

  Rows rows_;
  uint64_t now_s_ = 0;
  State* state_ = nullptr;  // of the packet that is being decided
  size_t choice_ = 0, choices_ = 1;
};

struct Oracle::Flow {
  Frame frame;  // its addresses and ports
  Frame to;
  bool nat, reply, dsr;
  bool answered, closing;
  uint64_t seen_s;
  uint32_t moved;  // what the row of its backend said
  bool is_one_way() const { return nat || dsr; }
  bool operator==(const Flow&) const = default;
};

struct Oracle::State {
  struct Client {  // of a service with affinity
    Bytes service;
    std::string address;
    Bytes backend;
    uint64_t seen_s;
    bool operator==(const Client&) const = default;
  };
  struct Datagram {  // whose first fragment has come
    Frame first;
    std::string way;
    uint64_t seen_s;
    bool operator==(const Datagram&) const = default;
  };
  std::vector<Flow> flows;
  std::vector<Client> clients;
  std::vector<Datagram> datagrams;
  bool host_serves = false;  // a service's flow came by the uplink for the host itself
  bool operator==(const State&) const = default;
};

// What the files of the oracle share.
template <class T>
T as(const Bytes& bytes) {
  T out;
  std::memcpy(&out, bytes.data(), sizeof out);
  return out;
}
std::string text(const addr& address);
bool is_v6(const std::string& address);
bool begins_with(const addr& address, const __u8* prefix, uint32_t bits);
bool has_ports(const Frame& frame);
uint16_t to_port(const Frame& frame);  // of an echo: its identifier
bool same_way(const Frame& one, const Frame& other);
Frame turned(Frame frame);
bool from_outside(const Sent& sent);
bool is_connection(const Frame& frame);  // TCP or SCTP
bool is_first_fragment(const Frame& frame);
bool is_later_fragment(const Frame& frame);

template <class K, class V>
const PutRow* Oracle::find(table_id table, auto&& matches) const {  // the longest match; -1: no match
  const PutRow* best = nullptr;
  int longest = -1;
  for (const PutRow& row : rows_) {
    if (row.table != table) continue;
    const int length = matches(as<K>(row.key));
    if (length > longest) longest = length, best = &row;
  }
  return best;
}

}  // namespace thalweg::packet
