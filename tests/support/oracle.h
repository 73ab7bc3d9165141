// Oracle: what the packet path means, said in the plainest way. Every table is a list that is searched from
// end to end, every packet is decided afresh, checksums come from building the packet anew.
// tests/packet/random_test.cc compares.
#pragma once

#include <vector>

#include "tests/packet/frame.h"
#include "tests/packet/world.h"

namespace thalweg::packet {

// A packet before it is bytes: who sent which frame, and the node whose tunnel it came through (empty: none).
struct Sent {
  origin from;
  Frame frame;
  std::string outer;
  Bytes bytes() const;
};

struct Answer {
  verdict said;
  drop_reason reason = DROP_NONE;
  hop_kind hop = HOP_NONE;
  Frame frame;       // as it leaves, inside the tunnel if there is one
  std::string peer;  // HOP_TUNNEL: to which node
  Bytes error;       // an ICMP error in place of the frame
  Bytes bytes() const;
};

class Oracle {
 public:
  void put(const PutRow& row);
  Answer run(const Sent& sent);

 private:
  struct Way {  // a packet on its way
    const Sent& sent;
    Frame frame;         // as it will leave
    bool known = false;  // belongs to a flow seen before
    bool reply = false, nat = false;
  };
  struct Flow {
    Frame frame;  // its addresses and ports
    Frame to;
    bool nat, reply, closing;
  };

  template <class K, class V>
  const PutRow* find(table_id table, auto&& matches) const;
  const ::route* route_of(const std::string& address) const;
  const ::endpoint* endpoint_of(const std::string& address) const;
  uint32_t identity_of(const std::string& address) const;
  const ::service* service_of(const Frame& frame, bool any_port) const;

  Flow* flow_of(const Frame& frame);
  void end_answers_of_host(const Frame& frame);
  void close(Flow& flow, const Way& way);
  Answer leave_host(const Way& way, Flow* flow);
  drop_reason choose_backend(Way& way) const;
  drop_reason find_hop(const Way& way, Answer& answer) const;
  bool source_belongs(const Way& way) const;
  drop_reason policy(const Way& way) const;
  bool allows(const Way& way, uint32_t set, direction direction, const std::string& peer) const;
  bool is_taken(const Way& way) const;
  drop_reason masquerade(Way& way, hop_kind hop);
  void remember(const Way& way);
  bool is_told(const Way& way, drop_reason reason) const;
  Answer refuse(const Way& way, drop_reason reason) const;
  Answer leave(const Way& way, Answer answer) const;

  Rows rows_;
  std::vector<Flow> flows_;
  bool host_serves_ = false;  // a service's flow came by the uplink for the host itself
};

}  // namespace thalweg::packet
