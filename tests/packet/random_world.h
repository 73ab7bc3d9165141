// Random worlds and what happens in them, for random_test: tables and their changes, packets of every kind,
// answers to those that went on, ICMP errors about them.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "tests/support/oracle.h"

namespace thalweg::packet {

class Chance {
 public:
  explicit Chance(uint64_t seed) : random_(seed) {}
  bool one_in(unsigned n) { return random_() % n == 0; }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(random_() % n); }
  template <class T>
  const T& of(const std::vector<T>& all) {
    return all[below(static_cast<uint32_t>(all.size()))];
  }

 private:
  std::mt19937_64 random_;
};

class RandomWorld {
 public:
  RandomWorld(Chance& chance, bool has_interfaces) : chance_(chance), has_interfaces_(has_interfaces) {}

  // The rows it begins with, and those of a change; a row without a value goes.
  Rows begin();
  Rows change();
  // What comes next, given what has been sent and what has gone on.
  Sent packet();
  void has_sent(const Sent& sent) { sent_.push_back(sent); }
  void went_on(const Sent& sent, const Answer& answer) { forwarded_.push_back({sent, answer}); }

 private:
  Rows service(const std::string& address, uint32_t flags);
  Rows members(const FullService& of, const std::vector<std::string>& all);
  Rows nodes();
  Rows removal();
  Rows stands(const Rows& rows);
  PutRow next_generation() { return generation(++number_); }
  Sent new_packet();
  Sent question();
  Sent rest_of(Sent sent);
  struct Forwarded {
    Sent sent;
    Answer answer;
  };
  Sent answer_to(const Answer& answer);
  Sent error_about(const Answer& answer);
  Sent error_about_answer(const Sent& sent);
  Sent random_error(const Forwarded& one);
  Sent disguised(Sent sent);
  void cut(Sent& sent);

  Chance& chance_;
  uint64_t number_ = 1;
  Rows rows_;  // that stand
  std::vector<Sent> sent_;
  std::vector<Forwarded> forwarded_;
  bool has_interfaces_;
};

}  // namespace thalweg::packet
