#include "base/asio.h"
// Asio first: it is precompiled.
#include <ares.h>
#include <sys/random.h>

#include <array>
#include <map>
#include <unordered_map>

#include "dns/upstream.h"

namespace thalweg::dns {

namespace {

// Ids from the kernel's CSPRNG, many at a time: a reply must not be guessable.
class RandomIds {
 public:
  uint16_t next() {
    if (used_ == ids_.size()) {
      if (getrandom(ids_.data(), sizeof ids_, 0) != sizeof ids_) std::abort();  // never with guessable ids
      used_ = 0;
    }
    return ids_[used_++];
  }

 private:
  std::array<uint16_t, 64> ids_{};
  size_t used_ = ids_.size();
};

std::string servers_csv(const std::vector<Endpoint>& servers) {
  std::string out;
  for (const Endpoint& each : servers) out += (out.empty() ? "" : ",") + each.str();
  return out;
}

// One c-ares channel and its sockets. c-ares asks all that is in flight from one port per server, so several
// channels, picked at random, spread the ports.
class Channel : public std::enable_shared_from_this<Channel> {
 public:
  explicit Channel(asio::io_context& io) : io_(io), timer_(io) {}
  ~Channel() { stop(); }

  Result<> open(const UpstreamConfig& config) {
    ares_options options{};
    options.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES;
    options.timeout = static_cast<int>(config.timeout_ms);
    options.tries = static_cast<int>(config.tries);
    options.sock_state_cb = [](void* self, ares_socket_t fd, int read, int write) {
      static_cast<Channel*>(self)->want(fd, read != 0, write != 0);
    };
    options.sock_state_cb_data = this;
    const int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    if (const int status = ares_init_options(&channel_, &options, mask); status != ARES_SUCCESS) {
      channel_ = nullptr;
      return fail("c-ares: {}", ares_strerror(status));
    }
    const std::string csv = servers_csv(config.servers);
    if (const int status = ares_set_servers_ports_csv(channel_, csv.c_str()); status != ARES_SUCCESS)
      return fail("upstreams {}: {}", csv, ares_strerror(status));
    return {};
  }

  void send(Bytes query, ares_callback callback, void* argument) {
    ares_send(channel_, query.data(), static_cast<int>(query.size()), callback, argument);
    arm_timer();
  }

  void stop() {
    timer_.cancel();
    if (channel_ != nullptr)
      ares_destroy(std::exchange(channel_, nullptr));  // calls what waits: EDESTRUCTION
    for (auto& [fd, watch] : watches_) watch->stream.release();
    watches_.clear();
  }

 private:
  struct Watch {
    explicit Watch(asio::io_context& io, ares_socket_t fd) : stream(io, fd), fd(fd) {}
    asio::posix::stream_descriptor stream;
    ares_socket_t fd;
    bool read = false, write = false;       // wanted by c-ares
    bool reading = false, writing = false;  // being waited for
    bool closed = false;
  };

  // c-ares says what it waits for; 0, 0 just before it closes the socket.
  void want(ares_socket_t fd, bool read, bool write) {
    auto& watch = watches_[fd];
    if (!read && !write) {
      if (watch) {
        watch->closed = true;
        watch->stream.release();
      }
      watches_.erase(fd);
      return;
    }
    if (!watch) watch = std::make_shared<Watch>(io_, fd);
    watch->read = read;
    watch->write = write;
    wait(watch);
  }

  void wait(const std::shared_ptr<Watch>& watch) {
    if (watch->read && !std::exchange(watch->reading, true)) wait_for(watch, &Watch::reading, true);
    if (watch->write && !std::exchange(watch->writing, true)) wait_for(watch, &Watch::writing, false);
  }

  void wait_for(const std::shared_ptr<Watch>& watch, bool Watch::*waiting, bool read) {
    const auto what =
        read ? asio::posix::descriptor_base::wait_read : asio::posix::descriptor_base::wait_write;
    watch->stream.async_wait(what, [self = weak_from_this(), watch, waiting, read](auto error) {
      (*watch).*waiting = false;
      const auto channel = self.lock();
      if (error || watch->closed || !channel || channel->channel_ == nullptr) return;
      ares_process_fd(channel->channel_, read ? watch->fd : ARES_SOCKET_BAD,
                      read ? ARES_SOCKET_BAD : watch->fd);
      if (channel->channel_ == nullptr) return;
      if (!watch->closed) channel->wait(watch);
      channel->arm_timer();
    });
  }

  void arm_timer() {
    if (channel_ == nullptr) return;
    timeval room{};
    const timeval* next = ares_timeout(channel_, nullptr, &room);
    if (next == nullptr) {
      timer_.cancel();
      return;
    }
    timer_.expires_after(std::chrono::seconds(next->tv_sec) + std::chrono::microseconds(next->tv_usec) +
                         std::chrono::milliseconds(1));
    timer_.async_wait([self = weak_from_this()](auto error) {
      const auto channel = self.lock();
      if (error || !channel || channel->channel_ == nullptr) return;
      ares_process_fd(channel->channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
      channel->arm_timer();
    });
  }

  asio::io_context& io_;
  asio::steady_timer timer_;
  ares_channel channel_ = nullptr;
  std::map<ares_socket_t, std::shared_ptr<Watch>> watches_;
};

Result<> start_cares() {
  static const int status = ares_library_init(ARES_LIB_INIT_ALL);
  if (status != ARES_SUCCESS) return fail("c-ares: {}", ares_strerror(status));
  return {};
}

}  // namespace

struct Upstream::Impl : std::enable_shared_from_this<Upstream::Impl> {
  static constexpr size_t kChannels = 8;
  using InFlight = std::unordered_map<CacheKey, std::vector<Done>, CacheKeyHash>;

  Impl(const UpstreamConfig& config, uint64_t seed) : config(config), in_flight(64, CacheKeyHash{seed}) {}

  // What c-ares carries for us through one question.
  struct Asked {
    std::weak_ptr<Impl> impl;
    CacheKey key;
  };

  void ask(const Question& question, Done done) {
    CacheKey key(question.name, question.type, question.dnssec_ok, question.checking_disabled);
    const auto found = in_flight.find(key);
    if (channels.empty() || waiting >= config.max_waiting ||
        (found == in_flight.end() && in_flight.size() >= config.max_in_flight)) {
      ++counts.rejected;
      done({});
      return;
    }
    ++waiting;
    if (found != in_flight.end()) {
      ++counts.coalesced;
      found->second.push_back(std::move(done));
      return;
    }
    in_flight[key].push_back(std::move(done));
    send(question, key);
  }

  void send(const Question& question, const CacheKey& key) {
    std::array<uint8_t, kPlainUdpSize> query;
    Writer writer(query);
    writer.begin(ids.next(), static_cast<uint16_t>(kRd | (question.checking_disabled ? kCd : 0)));
    writer.question(question.name, question.type);
    writer.opt(question.dnssec_ok, Rcode::NoError);
    ++counts.asked;
    auto asked = std::make_unique<Asked>(Asked{weak_from_this(), key});
    const auto channel = channels[ids.next() % channels.size()];
    channel->send(writer.written(), on_reply, asked.release());
  }

  static void on_reply(void* argument, int status, int /*timeouts*/, unsigned char* reply, int size) {
    const std::unique_ptr<Asked> asked(static_cast<Asked*>(argument));
    const auto impl = asked->impl.lock();
    if (!impl) return;
    const bool good = status == ARES_SUCCESS && reply != nullptr && size > 0;
    impl->finish(asked->key, good ? Bytes(reply, static_cast<size_t>(size)) : Bytes());
  }

  void finish(const CacheKey& key, Bytes reply) {
    auto node = in_flight.extract(key);
    if (node.empty()) return;
    if (reply.empty()) ++counts.failed;
    waiting -= node.mapped().size();
    for (const Done& done : node.mapped()) done(reply);
  }

  void stop() {
    in_flight.clear();
    waiting = 0;
    for (const auto& channel : std::exchange(channels, {})) channel->stop();
  }

  UpstreamConfig config;
  UpstreamCounts counts;
  RandomIds ids;
  std::vector<std::shared_ptr<Channel>> channels;
  InFlight in_flight;
  size_t waiting = 0;
};

Result<std::unique_ptr<Upstream>> Upstream::make(asio::io_context& io, const UpstreamConfig& config) {
  TRY(start_cares());
  uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) return fail_errno(errno, "getrandom");
  auto impl = std::make_shared<Impl>(config, seed);
  for (size_t i = 0; i < Impl::kChannels && !config.servers.empty(); ++i) {
    auto channel = std::make_shared<Channel>(io);
    TRY(channel->open(config));
    impl->channels.push_back(std::move(channel));
  }
  return std::unique_ptr<Upstream>(new Upstream(std::move(impl)));
}

Upstream::Upstream(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
Upstream::~Upstream() { stop(); }
void Upstream::ask(const Question& question, Done done) { impl_->ask(question, std::move(done)); }
const UpstreamCounts& Upstream::counts() const { return impl_->counts; }
size_t Upstream::in_flight() const { return impl_->in_flight.size(); }
void Upstream::stop() { impl_->stop(); }

}  // namespace thalweg::dns
