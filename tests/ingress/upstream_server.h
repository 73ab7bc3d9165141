// A tiny HTTP/1.1 server of blocking sockets: the endpoint behind the ingress under test, well-behaved or
// not.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace thalweg::ingress::test {

// What it does is asked for by the path (see upstream_server.cc); every answer names it in X-Served-By.
class UpstreamServer {
 public:
  explicit UpstreamServer(std::string name);
  ~UpstreamServer();
  UpstreamServer(const UpstreamServer&) = delete;
  UpstreamServer& operator=(const UpstreamServer&) = delete;

  uint16_t port() const { return port_; }
  unsigned connections() const { return connections_; }
  unsigned requests() const { return requests_; }

 private:
  void accept();
  void serve(int fd);

  std::string name_;
  uint16_t port_ = 0;
  int listener_ = -1;  // its making fills port_
  std::atomic<unsigned> connections_ = 0;
  std::atomic<unsigned> requests_ = 0;
  std::mutex mutex_;
  std::vector<int> open_;
  std::list<std::thread> threads_;
  std::thread acceptor_;
};

// A TCP port of 127.0.0.1 where nobody listens.
uint16_t closed_port();
// Connects to 127.0.0.1.
int connect_to(uint16_t port);
bool send_all(int fd, std::string_view bytes);

// One end of a connection, read with a bound on patience (10 s) so that a failing test ends.
class Wire {
 public:
  explicit Wire(int fd);
  ~Wire();
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  bool send(std::string_view bytes) { return send_all(fd_, bytes); }
  void end_sending();
  std::string until(std::string_view mark);  // with the mark; less at the end of the stream
  std::string exactly(size_t n);
  std::string rest();  // until the other side closes
  bool closed();       // waits for the end, true when nothing came before it
  int fd() const { return fd_; }

 private:
  bool fill();
  int fd_;
  std::string buffer_;
};

}  // namespace thalweg::ingress::test
