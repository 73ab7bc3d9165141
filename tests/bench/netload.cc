// netload: TCP request/response, connect/request/close, connect/close and stream between two network
// namespaces, for scripts/bench and the demo's figures. Forks a server and a client, each into its namespace,
// cgroup and CPU, and prints one JSON object with the operations done and the CPU time both used (the
// kernel's work for them runs in their context).
//
//   netload rr|crr|connect|stream SERVER_NETNS CLIENT_NETNS ADDRESS PORT SECONDS [SERVER_CPU CLIENT_CPU]

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/fd.h"
#include "base/ip.h"

namespace {

using namespace thalweg;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string mode, server_netns, client_netns;
  Ip address;
  uint16_t port = 0;
  double seconds = 1;
  int server_cpu = -1, client_cpu = -1;
};

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "netload: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

void enter(const std::string& netns, int cpu) {
  const Fd fd(open(("/run/netns/" + netns).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd || setns(fd.get(), CLONE_NEWNET) != 0) die("enter " + netns);
  if (cpu < 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) die("pin to a CPU");
}

sockaddr_in6 socket_address(const Ip& ip, uint16_t port) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  std::memcpy(&address.sin6_addr, ip.bytes().data(), 16);
  return address;
}

Fd tcp_socket() {
  Fd fd(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int off = 0, on = 1;
  if (!fd) die("socket");
  setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

// ---- the server: echoes single bytes, swallows what is longer
// ------------------------------------------------

void serve(const Options& options, int ready) {
  enter(options.server_netns, options.server_cpu);
  const Fd listener = tcp_socket();
  const auto address = socket_address(Ip(), options.port);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) die("bind");
  if (listen(listener.get(), 128) != 0) die("listen");
  if (write(ready, "r", 1) != 1) die("say that the server is ready");
  static char buffer[1 << 20];
  const int on = 1;
  for (;;) {
    const Fd peer(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer) die("accept");
    if (options.mode == "connect") continue;
    setsockopt(peer.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (ssize_t got; (got = read(peer.get(), buffer, sizeof buffer)) > 0;)
      if (got == 1 && write(peer.get(), buffer, 1) != 1) break;
  }
}

// ---- the client
// ----------------------------------------------------------------------------------------------

Fd connect_to(const Options& options) {
  Fd fd = tcp_socket();
  const auto address = socket_address(options.address, options.port);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    die("connect to " + options.address.str());
  return fd;
}

void exchange(const Fd& fd) {
  char byte = 'x';
  if (write(fd.get(), &byte, 1) != 1 || read(fd.get(), &byte, 1) != 1) die("exchange a byte");
}

// The server closes what it accepts: without waiting for that the client would fill the queue of those not
// yet accepted.
void await_end(const Fd& fd) {
  char byte;
  if (read(fd.get(), &byte, 1) != 0) die("wait for the server to close");
}

// The client closes by reset, so that neither side is left with a port in TIME_WAIT: thousands a second would
// run out.
void close_by_reset(const Fd& fd) {
  const linger now{1, 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

struct Outcome {
  double operations = 0;  // exchanges, connections, or bytes
  double seconds = 0;
};

Outcome request(const Options& options) {
  enter(options.client_netns, options.client_cpu);
  const auto begin = Clock::now();
  const auto end = begin + std::chrono::duration<double>(options.seconds);
  Outcome out;
  static char block[1 << 18];
  const bool connects = options.mode == "crr" || options.mode == "connect";
  const Fd lasting = connects ? Fd() : connect_to(options);
  while (Clock::now() < end) {
    if (options.mode == "stream") {
      const ssize_t sent = write(lasting.get(), block, sizeof block);
      if (sent <= 0) die("send");
      out.operations += static_cast<double>(sent);
    } else if (options.mode == "rr") {
      exchange(lasting);
      ++out.operations;
    } else {
      const Fd fd = connect_to(options);
      options.mode == "crr" ? exchange(fd) : await_end(fd);
      close_by_reset(fd);
      ++out.operations;
    }
  }
  out.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return out;
}

double cpu_seconds(const rusage& use) {
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

pid_t spawn(auto&& body) {
  const pid_t child = fork();
  if (child < 0) die("fork");
  if (child == 0) {
    body();
    std::exit(0);
  }
  return child;
}

double reap(pid_t child, bool must_succeed) {
  rusage use{};
  int status = 0;
  if (wait4(child, &status, 0, &use) != child) die("wait");
  if (must_succeed && status != 0) std::exit(1);
  return cpu_seconds(use);
}

int run(const Options& options) {
  int ready[2], result[2];
  if (pipe(ready) != 0 || pipe(result) != 0) die("pipe");
  const pid_t server = spawn([&] { serve(options, ready[1]); });
  close(ready[1]);  // a server that dies early must not leave us waiting
  char byte;
  if (read(ready[0], &byte, 1) != 1) return reap(server, true) < 0;
  const pid_t client = spawn([&] {
    const Outcome out = request(options);
    if (write(result[1], &out, sizeof out) != sizeof out) die("tell the result");
  });
  const double client_cpu = reap(client, false);
  kill(server, SIGKILL);
  const double server_cpu = reap(server, false);
  close(result[1]);
  Outcome out;
  if (read(result[0], &out, sizeof out) != sizeof out) return 1;  // the client has said why
  std::printf("{\"mode\":\"%s\",\"operations\":%.0f,\"seconds\":%.6f,\"cpu_seconds\":%.6f}\n",
              options.mode.c_str(), out.operations, out.seconds, client_cpu + server_cpu);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7 && argc != 9) {
    std::fprintf(
        stderr,
        "usage: netload rr|crr|connect|stream SERVER_NETNS CLIENT_NETNS ADDRESS PORT SECONDS [SERVER_CPU "
        "CLIENT_CPU]\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  Options options{argv[1],           argv[2], argv[3], {}, static_cast<uint16_t>(std::atoi(argv[5])),
                  std::atof(argv[6])};
  const auto address = Ip::parse(argv[4]);
  if (!address || (options.mode != "rr" && options.mode != "crr" && options.mode != "connect" &&
                   options.mode != "stream")) {
    std::fprintf(stderr, "netload: a mode and an address, please\n");
    return 2;
  }
  options.address = *address;
  if (argc == 9) options.server_cpu = std::atoi(argv[7]), options.client_cpu = std::atoi(argv[8]);
  return run(options);
}
