#include "base/asio.h"
//
#include "kube/relay.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "kube/serve.h"

namespace thalweg::kube {

namespace {

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return fail("{}: no path for a socket", path);
  path.copy(address.sun_path, path.size());
  return address;
}

Result<Fd> new_socket() {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno(errno, "socket");
  return socket;
}

// Whether someone answers there.
Result<bool> is_live(const sockaddr_un& address) {
  const Fd probe = TRY(new_socket());
  const int result = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  return result == 0 || errno == EAGAIN;
}

Result<Fd> listen_at(const std::string& path) {
  const sockaddr_un address = TRY(address_of(path));
  if (TRY(is_live(address))) return fail("{}: another process serves there", path);
  struct stat st {};
  if (::lstat(path.c_str(), &st) == 0 && S_ISSOCK(st.st_mode)) ::unlink(path.c_str());
  Fd socket = TRY(new_socket());
  // The mode must hold from the first moment, and bind() takes it from the umask.
  const mode_t before = ::umask(0117);
  const int bound = ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  ::umask(before);
  if (bound < 0) return fail_errno(error, "bind {}", path);
  if (::listen(socket.get(), 128) < 0) return fail_errno(errno, "listen {}", path);
  return socket;
}

// Higher in every later process, so that a version of an earlier one is refused as too old.
uint64_t first_version() {
  using namespace std::chrono;
  return static_cast<uint64_t>(duration_cast<microseconds>(system_clock::now().time_since_epoch()).count());
}

}  // namespace

struct Relay::Impl {
  asio::io_context& io;
  std::string path;
  RelayOptions options;
  std::unique_ptr<ListWatchServer> server;
};

Relay::Relay(asio::io_context& io, std::string socket_path, RelayOptions options)
    : impl_(new Impl{io, std::move(socket_path), options, nullptr}) {}

Relay::~Relay() { stop(); }

Result<> Relay::start() {
  Fd socket = TRY(listen_at(impl_->path));
  impl_->server = std::make_unique<ListWatchServer>(impl_->io, std::move(socket), nullptr, impl_->options,
                                                    first_version());
  impl_->server->start();
  return {};
}

void Relay::update(const Cluster& cluster, std::span<const ObjectRef> changed) {
  if (!impl_->server) return;
  for (const auto& ref : changed) {
    if (ref.kind == Kind::Secret) continue;
    if (const auto object = find(cluster, ref)) {
      impl_->server->history().put(*object);
    } else {
      impl_->server->history().erase(ref);
    }
  }
  impl_->server->announce();
}

void Relay::stop() {
  if (!impl_->server) return;
  impl_->server->stop();
  impl_->server.reset();
  ::unlink(impl_->path.c_str());
}

RelayStats Relay::stats() const { return impl_->server ? impl_->server->stats() : RelayStats(); }

}  // namespace thalweg::kube
