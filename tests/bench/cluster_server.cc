// cluster_server: an API server of a made cluster on a unix socket, for `scripts/bench services`. It answers
// lists in pages from text made beforehand, so that the agent and not the server is what is measured, and
// follows commands on stdin, a line of JSON on stdout for each:
//
//   target N ADDRESS PORT      service N gets this one endpoint
//   change COUNT MAPS_FOLDER   COUNT changes of one endpoint each, a pause between them; the milliseconds
//   from
//                              sending the event to the kernel's tables holding all it changes
//
//   cluster_server SOCKET SERVICES ENDPOINTS_EACH

#include <bpf/bpf.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <map>
#include <mutex>
#include <random>
#include <sstream>
#include <thread>

#include "base/fd.h"
#include "dataplane/intent/compile.h"
#include "dataplane/intent/diff.h"
#include "kube/decode.h"
#include "tests/bench/made_cluster.h"

namespace thalweg::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kDefaultPage = 500;
constexpr double kPatience_ms = 10'000;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "cluster_server: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

// ---- what is served

struct Resource {
  std::vector<std::string> items;
  std::vector<int> watchers;  // connections that follow it
};

class Store {
 public:
  Store(uint32_t services, uint32_t endpoints) {
    resources_["nodes"].items = {node_json("192.0.2.11", "10.200.1.0/24")};
    for (int team = 0; team < 100; ++team)
      resources_["namespaces"].items.push_back(namespace_json(fmt::format("team-{}", team)));
    resources_["namespaces"].items.push_back(namespace_json("bench"));
    resources_["pods"].items = {pod_json("client"), pod_json("server")};
    resources_["networkpolicies"], resources_["ingresses"];
    for (uint32_t number = 0; number < services; ++number) {
      services_.push_back(make_service(number, endpoints));
      resources_["services"].items.push_back(service_json(services_.back(), 1));
      resources_["endpointslices"].items.push_back(slice_json(services_.back(), 1));
    }
  }

  MadeService& service(uint32_t number) { return services_.at(number); }
  size_t services() const { return services_.size(); }

  // The slice (and, its port being told there too, the service) as changed goes to whoever watches; returns
  // when it is written.
  void announce(uint32_t number, const std::string& slice) {
    std::lock_guard lock(mutex_);
    Resource& slices = resources_.at("endpointslices");
    slices.items[number] = slice;
    const std::string event = R"({"type":"MODIFIED","object":)" + slice + "}\n";
    const std::string chunk = fmt::format("{:x}\r\n{}\r\n", event.size(), event);
    for (const int watcher : slices.watchers)
      if (::write(watcher, chunk.data(), chunk.size()) != static_cast<ssize_t>(chunk.size()))
        die("send an event");
  }
  uint64_t next_version() { return ++version_; }

  // Empty: no such resource.
  std::string page(const std::string& plural, size_t from, size_t limit) {
    std::lock_guard lock(mutex_);
    const auto found = resources_.find(plural);
    if (found == resources_.end()) return {};
    const auto& items = found->second.items;
    const size_t to = std::min(items.size(), from + limit);
    const std::string more = to < items.size() ? fmt::format(R"(,"continue":"{}")", to) : "";
    std::string out =
        fmt::format(R"({{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"{}"{}}},"items":[)",
                    version_, more);
    for (size_t at = from; at < to; ++at) out += (at > from ? "," : "") + items[at];
    return out + "]}";
  }

  void follow(const std::string& plural, int connection) {
    std::lock_guard lock(mutex_);
    resources_[plural].watchers.push_back(connection);
  }
  void leave(int connection) {
    std::lock_guard lock(mutex_);
    for (auto& [plural, resource] : resources_) std::erase(resource.watchers, connection);
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Resource> resources_;
  std::vector<MadeService> services_;
  uint64_t version_ = 1;
};

// ---- HTTP, as much of it as one well-behaved client needs

std::string parameter(const std::string& query, const std::string& key) {
  const size_t at = query.find(key + "=");
  if (at == std::string::npos) return {};
  const size_t begin = at + key.size() + 1;
  return query.substr(begin, query.find('&', begin) - begin);
}

void send_all(int connection, const std::string& bytes) {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t now = ::send(connection, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (now <= 0) return;
    sent += static_cast<size_t>(now);
  }
}

void answer(Store& store, int connection, const std::string& target) {
  const size_t mark = std::min(target.find('?'), target.size());
  const std::string path = target.substr(0, mark), query = target.substr(mark);
  const std::string plural = path.substr(path.rfind('/') + 1);
  if (!parameter(query, "watch").empty()) {
    send_all(connection,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    return store.follow(plural, connection);
  }
  const std::string from = parameter(query, "continue"), limit = parameter(query, "limit");
  const std::string body = store.page(plural, from.empty() ? 0 : std::stoul(from),
                                      limit.empty() || limit == "0" ? kDefaultPage : std::stoul(limit));
  send_all(connection,
           fmt::format("HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                       body.empty() ? "404 Not Found" : "200 OK", body.size()) +
               body);
}

void serve(Store& store, Fd connection) {
  std::string request;
  char buffer[8192];
  for (ssize_t got; (got = ::read(connection.get(), buffer, sizeof buffer)) > 0;) {
    request.append(buffer, static_cast<size_t>(got));
    for (size_t end; (end = request.find("\r\n\r\n")) != std::string::npos; request.erase(0, end + 4)) {
      const size_t begin = request.find(' ') + 1;
      answer(store, connection.get(), request.substr(begin, request.find(' ', begin) - begin));
    }
  }
  store.leave(connection.get());
}

Fd listen_at(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ::unlink(path.c_str());
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket || ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), 128) != 0)
    die("listen at " + path);
  return socket;
}

// ---- one change, from the event to the tables

kube::Cluster cluster_of(const std::string& service, const std::string& slice) {
  kube::Cluster out;
  kube::put(out, *kube::decode(kube::Kind::Service, boost::json::parse(service)));
  kube::put(out, *kube::decode(kube::Kind::EndpointSlice, boost::json::parse(slice)));
  return out;
}

class Tables {
 public:
  explicit Tables(const std::string& folder) {
    for (size_t id = 0; id < TABLES; ++id) {
      const std::string path = folder + "/" + std::string(dataplane::kTables[id].name);
      fds_[id].reset(bpf_obj_get(path.c_str()));
      if (!fds_[id]) die("open " + path);
    }
  }
  bool holds(const dataplane::Change& change) const {
    std::string value(dataplane::info(change.table).value_size, '\0');
    const bool found = bpf_map_lookup_elem(fds_[change.table].get(), change.key.data(), value.data()) == 0;
    return change.op == dataplane::Change::Op::Delete ? !found : found && value == change.value;
  }

 private:
  std::array<Fd, TABLES> fds_;
};

// Address replaced, endpoint taken out, endpoint back: what deployments do, in turn.
void alter(MadeService& service, uint32_t step, std::mt19937& random) {
  MadeEndpoint& one = service.endpoints[random() % service.endpoints.size()];
  const auto out = std::ranges::find(service.endpoints, false, &MadeEndpoint::ready);
  if (out != service.endpoints.end())
    out->ready = true;
  else if (step % 2)
    one.ready = false;
  else
    one.ip = Ip::v4(100, 112, 0, 0).plus(random() % (1 << 20));
}

double change_ms(Store& store, const Tables& tables, uint32_t number, uint32_t step, std::mt19937& random) {
  MadeService& service = store.service(number);
  const dataplane::Config config{.node_name = kNodeName};
  const std::string spec = service_json(service, 1);
  const auto before = dataplane::compile_from_scratch(config, cluster_of(spec, slice_json(service, 1)), {});
  alter(service, step, random);
  const std::string slice = slice_json(service, store.next_version());
  const auto after = dataplane::compile_from_scratch(config, cluster_of(spec, slice), {});
  const auto changes = dataplane::diff(before, after);
  const auto waited = [begun = Clock::now()] {
    return std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
  };
  store.announce(number, slice);
  for (const auto& change : changes)
    while (!tables.holds(change)) {
      if (waited() > kPatience_ms) die("a change did not arrive in the tables");
      ::usleep(20);  // or, where CPUs are few, it would be waiting for itself
    }
  return waited();
}

std::string change(Store& store, uint32_t count, const std::string& folder) {
  static std::mt19937 random(1);
  const Tables tables(folder);
  std::string out;
  for (uint32_t step = 0; step < count; ++step) {
    const uint32_t number = 1 + random() % (store.services() - 1);
    out += fmt::format("{}{:.4f}", step ? "," : "", change_ms(store, tables, number, step, random));
    std::this_thread::sleep_for(std::chrono::microseconds(2000 + random() % 8000));
  }
  return "{\"ms\":[" + out + "]}";
}

std::string target(Store& store, uint32_t number, const std::string& address, uint16_t port) {
  const auto ip = Ip::parse(address);
  if (!ip) return "{\"error\":\"not an address\"}";
  MadeService& service = store.service(number);
  service.endpoints = {{*ip}};
  service.target_port = port;
  store.announce(number, slice_json(service, store.next_version()));
  return "{}";
}

void follow_commands(Store& store) {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb, text;
    uint32_t number = 0;
    uint16_t port = 0;
    words >> verb >> number >> text >> port;
    std::string said = "{\"error\":\"no such command\"}";
    if (verb == "change") said = change(store, number, text);
    if (verb == "target") said = target(store, number, text, port);
    std::puts(said.c_str());
    std::fflush(stdout);
  }
}

int run(const std::string& path, uint32_t services, uint32_t endpoints) {
  Store store(services, endpoints);
  const Fd listener = listen_at(path);
  std::thread([&] {
    for (;;)
      if (Fd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)); connection)
        std::thread([&store, connection = std::move(connection)]() mutable {
          serve(store, std::move(connection));
        }).detach();
  }).detach();
  std::puts("{\"ready\":true}");
  std::fflush(stdout);
  follow_commands(store);
  std::_Exit(0);  // the threads have no other end
}

}  // namespace
}  // namespace thalweg::bench

int main(int argc, char** argv) {
  if (argc == 4)
    return thalweg::bench::run(argv[1], static_cast<uint32_t>(std::atoi(argv[2])),
                               static_cast<uint32_t>(std::atoi(argv[3])));
  std::fprintf(stderr, "usage: cluster_server SOCKET SERVICES ENDPOINTS_EACH\n");
  return 2;
}
