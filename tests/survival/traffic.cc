// The traffic of the survival test: servers that echo, and senders that notice every packet that is lost,
// every connection that is reset, and every packet that should not have come. Run in namespaces by
// scripts/lab/survival.py.
//
//   traffic serve PORT             echoes TCP and UDP; counts what begins with 'F': forbidden
//   traffic hold N ADDRESS PORT    N TCP connections, each asks every second and awaits the echo
//   traffic bulk N ADDRESS PORT    N TCP connections, each asks ten times a second with 32 KiB (segmented
//   late) traffic probe RATE ADDRESS PORT   one UDP flow, RATE datagrams a second traffic open RATE ADDRESS
//   PORT    a new UDP flow for each datagram traffic connect RATE ADDRESS PORT  ditto, TCP connections
//   traffic forbid RATE ADDRESS PORT [SOURCE]  datagrams and SYNs that no policy allows, or with a source
//   that
//                                     is another's
//
// On SIGTERM a sender waits for what is on its way, and every mode prints one JSON line.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"

namespace {

using thalweg::Fd;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

volatile sig_atomic_t stopping = 0;

constexpr auto kGrace = milliseconds(1500);  // the last packets' time to come back

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Address parse(const char* text, int port) {
  Address address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.size = sizeof *v4;
  } else if (::inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.size = sizeof *v6;
  }
  return address;
}

// With room for what comes while a busy machine lets us wait: that would be no loss of the network's.
Fd open_socket(int family, int type) {
  Fd fd(::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int bytes = 8 << 20;
  if (type == SOCK_DGRAM) ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
  return fd;
}

class Poll {
 public:
  Poll() : fd_(::epoll_create1(EPOLL_CLOEXEC)) {}
  void add(int fd, uint32_t events, void* tag) {
    epoll_event event{};
    event.events = events;
    event.data.ptr = tag;
    ::epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event);
  }
  std::vector<epoll_event> wait(int timeout_ms) {
    std::vector<epoll_event> events(256);
    const int n = ::epoll_wait(fd_.get(), events.data(), events.size(), timeout_ms);
    events.resize(n > 0 ? n : 0);
    return events;
  }

 private:
  Fd fd_;
};

// What was sent again because it, or its acknowledgement, was lost; not what the other side had already: a
// busy machine is late, and the kernel impatient (RFC 8985 §7, RFC 2883).
uint32_t retransmits(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_total_retrans - std::min(info.tcpi_dsack_dups, info.tcpi_total_retrans);
}

// ---- serve

struct Peer {
  Fd fd;
};

int serve(int port) {
  Address any = parse("::", port);
  Fd listener = open_socket(AF_INET6, SOCK_STREAM), udp = open_socket(AF_INET6, SOCK_DGRAM);
  const int yes = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (::bind(listener.get(), any.get(), any.size) != 0 || ::listen(listener.get(), 1024) != 0 ||
      ::bind(udp.get(), any.get(), any.size) != 0)
    return std::perror("serve"), 1;
  Poll poll;
  poll.add(listener.get(), EPOLLIN, &listener);
  poll.add(udp.get(), EPOLLIN, &udp);
  std::map<Peer*, std::unique_ptr<Peer>> peers;
  uint64_t accepted = 0, datagrams = 0, forbidden = 0, resent = 0, broken = 0;
  char buffer[2048];
  const auto drop = [&](Peer* peer) {
    resent += retransmits(peer->fd.get());
    peers.erase(peer);
  };
  while (!stopping) {
    for (const epoll_event& event : poll.wait(200)) {
      if (event.data.ptr == &listener) {
        while (Fd fd{::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)}) {
          ++accepted;
          auto peer = std::make_unique<Peer>(Peer{std::move(fd)});
          poll.add(peer->fd.get(), EPOLLIN, peer.get());
          peers.emplace(peer.get(), std::move(peer));
        }
      } else if (event.data.ptr == &udp) {
        sockaddr_in6 from{};
        socklen_t size = sizeof from;
        ssize_t n;
        while ((n = ::recvfrom(udp.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from),
                               &size)) >= 0) {
          ++datagrams;
          if (n > 0 && buffer[0] == 'F') ++forbidden;
          (void)!::sendto(udp.get(), buffer, n, 0, reinterpret_cast<sockaddr*>(&from), size);
        }
      } else {
        auto* peer = static_cast<Peer*>(event.data.ptr);
        const ssize_t n = ::read(peer->fd.get(), buffer, sizeof buffer);
        if (n > 0)
          (void)!::write(peer->fd.get(), buffer, n);
        else if (n == 0 || errno != EAGAIN) {
          broken += n < 0;
          drop(peer);
        }
      }
    }
  }
  while (!peers.empty()) drop(peers.begin()->first);
  std::printf(
      "{\"accepted\": %lu, \"datagrams\": %lu, \"forbidden\": %lu, \"resent\": %lu, \"broken\": %lu}\n",
      accepted, datagrams, forbidden, resent, broken);
  return 0;
}

// ---- hold

struct Held {
  Fd fd;
  uint64_t asked = 0, answered = 0;  // bytes
  Clock::time_point next{}, asked_at{};
  bool connected = false, dead = false;
};

struct Asking {
  size_t bytes;
  milliseconds every;
};

int hold(size_t count, Address to, Asking asking) {
  Poll poll;
  std::vector<Held> all(count);
  uint64_t resets = 0, stalled = 0;
  const std::string ask(asking.bytes, 'h');
  char buffer[65536];
  const auto begun = Clock::now();
  size_t opened = 0, connected = 0;
  bool told = false;
  auto end = Clock::time_point::max();
  while (Clock::now() < end) {
    if (stopping && end == Clock::time_point::max()) end = Clock::now() + kGrace;
    for (size_t i = 0; i < 20 && opened < count; ++i, ++opened) {  // not all at one stroke
      Held& one = all[opened];
      one.fd = open_socket(to.storage.ss_family, SOCK_STREAM);
      if (::connect(one.fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS) one.dead = true, ++resets;
      poll.add(one.fd.get(), EPOLLIN | EPOLLOUT | EPOLLET, &one);
      one.next = begun + milliseconds(1000 + opened * 1000 / count);
    }
    for (const epoll_event& event : poll.wait(5)) {
      Held& one = *static_cast<Held*>(event.data.ptr);
      if (one.dead) continue;
      if ((event.events & EPOLLOUT) && !one.connected && !(event.events & (EPOLLERR | EPOLLHUP)))
        one.connected = true, ++connected;
      ssize_t n;
      while ((n = ::read(one.fd.get(), buffer, sizeof buffer)) > 0) one.answered += n;
      if (n == 0 || (errno != EAGAIN && errno != ENOTCONN)) one.dead = true, ++resets;
    }
    const auto now = Clock::now();
    for (Held& one : all) {
      if (one.dead || !one.connected || now < one.next || stopping) continue;
      one.next = std::max(one.next + asking.every, now - asking.every);
      if (one.asked > one.answered) {
        if (now - one.asked_at > milliseconds(5000)) ++stalled;
        continue;
      }
      one.asked_at = now;
      if (const ssize_t n = ::write(one.fd.get(), ask.data(), ask.size()); n > 0) one.asked += n;
    }
    if (connected == count && !told) {
      told = true;
      std::printf("ready\n");
      std::fflush(stdout);
    }
  }
  uint64_t resent = 0, unanswered = 0, asked = 0;
  for (Held& one : all) {
    resent += one.fd ? retransmits(one.fd.get()) : 0;
    unanswered += one.asked != one.answered;
    asked += one.asked / asking.bytes;
  }
  std::printf(
      "{\"connections\": %zu, \"asked\": %lu, \"resets\": %lu, \"stalled\": %lu, \"unanswered\": %lu, "
      "\"resent\": %lu}\n",
      connected, asked, resets, stalled, unanswered, resent);
  return 0;
}

// ---- probe, open, forbid

// What must come back, or must not.
struct Sent {
  uint64_t sent = 0, received = 0;
};

void pace(double rate, const auto& each, const auto& idle) {
  const auto begun = Clock::now();
  uint64_t done = 0;
  auto end = Clock::time_point::max();
  while (Clock::now() < end) {
    if (stopping && end == Clock::time_point::max()) end = Clock::now() + kGrace;
    const auto due =
        static_cast<uint64_t>(std::chrono::duration<double>(Clock::now() - begun).count() * rate);
    if (!stopping && due > done + 20) done = due - 20;  // after a pause of ours: no burst
    if (!stopping)
      for (; done < due; ++done) each();
    idle();
  }
}

int probe(double rate, Address to) {
  const Fd fd = open_socket(to.storage.ss_family, SOCK_DGRAM);
  if (::connect(fd.get(), to.get(), to.size) != 0) return std::perror("probe"), 1;
  Sent sent;
  std::vector<bool> seen;
  char buffer[2048];
  uint64_t errors = 0;
  pace(
      rate,
      [&] {
        const std::string text = "p" + std::to_string(sent.sent);
        if (::send(fd.get(), text.data(), text.size(), 0) < 0) return void(++errors);
        ++sent.sent;
        seen.push_back(false);
      },
      [&] {
        ::usleep(500);
        ssize_t n;
        while ((n = ::recv(fd.get(), buffer, sizeof buffer - 1, 0)) > 0) {
          buffer[n] = 0;
          const auto number = std::strtoull(buffer + 1, nullptr, 10);
          if (number < seen.size() && !seen[number]) seen[number] = true, ++sent.received;
        }
      });
  std::string lost;
  for (size_t i = 0; i < seen.size() && lost.size() < 200; ++i)
    if (!seen[i]) lost += (lost.empty() ? "" : ", ") + std::to_string(i);
  std::printf("{\"sent\": %lu, \"lost\": %lu, \"errors\": %lu, \"which\": [%s]}\n", sent.sent,
              sent.sent - sent.received, errors, lost.c_str());
  return 0;
}

// One flow of its own for each datagram, or connection.
struct Opened {
  Fd fd;
  Clock::time_point at;
  bool asked = false, answered = false, refused = false;
};

void go_on(Opened& one) {
  char buffer[64];
  if (one.answered || one.refused) return;
  if (!one.asked) {  // a connection being made
    const ssize_t n = ::send(one.fd.get(), "o", 1, MSG_NOSIGNAL);
    one.asked = n == 1;
    one.refused = n < 0 && errno != EAGAIN && errno != ENOTCONN;
  }
  const ssize_t n = one.asked ? ::recv(one.fd.get(), buffer, sizeof buffer, 0) : -1;
  one.answered = n > 0;
  one.refused |= n == 0 || (n < 0 && one.asked && errno != EAGAIN);
}

int open_many(double rate, Address to, int type) {
  std::deque<Opened> waiting;
  uint64_t sent = 0, received = 0, errors = 0, resets = 0, resent = 0;
  std::string lost;
  const auto begun = Clock::now();
  const auto collect = [&](bool all) {
    for (Opened& one : waiting) go_on(one);
    while (!waiting.empty() && (all || Clock::now() - waiting.front().at > milliseconds(1000))) {
      const Opened& one = waiting.front();
      received += one.answered;
      resets += one.refused;
      resent += type == SOCK_STREAM ? retransmits(one.fd.get()) : 0;
      if (!one.answered && lost.size() < 200)
        lost += (lost.empty() ? "" : ", ") +
                std::to_string(std::chrono::duration<double>(one.at - begun).count());
      waiting.pop_front();
    }
  };
  pace(
      rate,
      [&] {
        Opened one{open_socket(to.storage.ss_family, type), Clock::now()};
        if (::connect(one.fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS) return void(++errors);
        ++sent;
        go_on(one);
        waiting.push_back(std::move(one));
      },
      [&] {
        ::usleep(2000);
        collect(false);
      });
  collect(true);
  std::printf(
      "{\"sent\": %lu, \"lost\": %lu, \"errors\": %lu, \"resets\": %lu, \"resent\": %lu, \"which\": [%s]}\n",
      sent, sent - received, errors, resets, resent, lost.c_str());
  return 0;
}

// A socket that speaks with another's address, if one is given.
Fd open_as(const Address& source, int family, int type) {
  Fd fd = open_socket(family, type);
  if (source.size == 0) return fd;
  const int yes = 1;
  Address from = source;
  if (::setsockopt(fd.get(), SOL_IP, IP_TRANSPARENT, &yes, sizeof yes) != 0 ||
      ::bind(fd.get(), from.get(), from.size) != 0)
    return {};
  return fd;
}

int forbid(double rate, Address to, Address source) {
  const Fd udp = open_as(source, to.storage.ss_family, SOCK_DGRAM);
  if (!udp) return std::perror("forbid"), 1;
  std::deque<Fd> attempts;
  Sent sent;
  pace(
      rate,
      [&] {
        if (::sendto(udp.get(), "F", 1, 0, to.get(), to.size) != 1) return;
        if (++sent.sent % 10 != 0) return;
        attempts.push_back(open_as(source, to.storage.ss_family, SOCK_STREAM));
        (void)!::connect(attempts.back().get(), to.get(), to.size);
        if (attempts.size() > 20) attempts.pop_front();
      },
      [] { ::usleep(1000); });
  std::printf("{\"sent\": %lu}\n", sent.sent);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  struct sigaction action {};
  action.sa_handler = [](int) { stopping = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "serve" && argc == 3) return serve(std::atoi(argv[2]));
  if (argc != 5 && !(argc == 6 && mode == "forbid"))
    return std::fprintf(stderr,
                        "usage: traffic serve PORT | hold|bulk|probe|open|connect|forbid N ADDRESS PORT\n"),
           2;
  const Address to = parse(argv[3], std::atoi(argv[4]));
  if (to.size == 0) return std::fprintf(stderr, "traffic: %s is no address\n", argv[3]), 2;
  const double number = std::atof(argv[2]);
  if (mode == "hold") return hold(static_cast<size_t>(number), to, {32, milliseconds(1000)});
  if (mode == "bulk") return hold(static_cast<size_t>(number), to, {32'768, milliseconds(100)});
  if (mode == "probe") return probe(number, to);
  if (mode == "open") return open_many(number, to, SOCK_DGRAM);
  if (mode == "connect") return open_many(number, to, SOCK_STREAM);
  return mode == "forbid" ? forbid(number, to, argc == 6 ? parse(argv[5], 0) : Address{}) : 2;
}
