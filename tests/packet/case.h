// A packet case: a world, packets that come in one after the other, and what must become of each. Every
// engine runs every case; the DPDK tests link the same table.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "tests/packet/engine.h"
#include "tests/packet/world.h"

namespace thalweg::packet {

// What must become of a packet. Tunnelled ones are given as Tunnel{…}.around(…); the outer source port, a
// hash, is not compared with the expectation, but between engines.
struct Expected {
  verdict said;
  drop_reason reason = DROP_NONE;
  hop_kind hop = HOP_NONE;
  Bytes out;  // empty: as it came in (PASS), or not looked at (DROP)
};

Expected pass(const Bytes& out = {});
Expected dropped(drop_reason reason);
Expected redirected(hop_kind hop, const Bytes& out);
// Dropped, and the sender is told so.
Expected refused(drop_reason reason, hop_kind hop, const Bytes& out);

struct Step {
  origin from;
  Bytes in;
  Expected expected;
  Rows before = {};  // what changes in the tables before this packet
  uint32_t headroom = 128;
  uint32_t after_s = 0;               // how long nothing happens before this packet
  uint32_t ifindex = kSenderIfindex;  // where it comes in
};

struct Case {
  std::string name;
  Rows world;
  std::vector<Step> steps;
  bool at_once = false;  // no time may pass by itself
};

const std::vector<Case>& cases();

// Why an engine cannot run a case; empty: it can.
std::string why_not(const Engine& engine, const Case& one);

// The names of those it cannot run: a test says which they may be, so that none is skipped unseen.
std::set<std::string> left_out(const Engine& engine);

// Runs a case on an engine. Empty: all as expected; else what differs, readable. `seen` gets what the engine
// did.
std::string run_case(Engine& engine, const Case& one, std::vector<Seen>* seen);

}  // namespace thalweg::packet
