#include "dataplane/agent/peer_paths.h"
#include "base/asio.h"

#include <arpa/inet.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <set>

#include "base/fd.h"
#include "base/log.h"
#include "base/loop.h"

namespace thalweg::dataplane {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kHolds = std::chrono::minutes(10);  // as in Linux, and RFC 1191 §6.3
constexpr int kMostReads = 64;                     // then a pause: anyone may send ICMP
constexpr uint64_t kPauseMs = 100;
// net.ipv4.route.min_pmtu, and RFC 8200 §5: what says less is a forgery, or a curiosity
constexpr uint16_t kSmallest = 552, kSmallest6 = 1280;
constexpr size_t kIpv6Header = 40;

uint16_t be16(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}

// Length of the IPv4 header the bytes begin with; 0: they do not.
size_t ipv4_header(std::span<const uint8_t> bytes, uint8_t protocol) {
  if (bytes.size() < 20 || bytes[0] >> 4 != 4 || bytes[9] != protocol) return 0;
  const size_t length = (bytes[0] & 15) * 4u;
  return length >= 20 && length <= bytes.size() ? length : 0;
}

// Does the UDP header at `at` go to the port?
bool goes_to(std::span<const uint8_t> packet, size_t at, uint16_t port) {
  return packet.size() >= at + 4 && be16(packet, at + 2) == port;
}

}  // namespace

std::optional<TooBig> read_too_big(std::span<const uint8_t> packet, uint16_t tunnel_port) {
  const size_t header = ipv4_header(packet, IPPROTO_ICMP);
  if (header == 0 || packet.size() < header + 8) return std::nullopt;
  const auto icmp = packet.subspan(header);
  if (icmp[0] != ICMP_DEST_UNREACH || icmp[1] != ICMP_FRAG_NEEDED) return std::nullopt;
  const auto quoted = icmp.subspan(8);
  const size_t inner = ipv4_header(quoted, IPPROTO_UDP);
  if (inner == 0 || !goes_to(quoted, inner, tunnel_port)) return std::nullopt;
  const TooBig said{Ip::v4(quoted[16], quoted[17], quoted[18], quoted[19]), be16(icmp, 6)};
  return said.mtu == 0 ? std::nullopt : std::optional(said);  // RFC 1191 §5: a router older than that
}

std::optional<TooBig> read_too_big6(std::span<const uint8_t> message, uint16_t tunnel_port) {
  if (message.size() < 8 + kIpv6Header || message[0] != ICMP6_PACKET_TOO_BIG) return std::nullopt;
  const auto quoted = message.subspan(8);
  // The tunnel puts no extension header between the two.
  if (quoted[0] >> 4 != 6 || quoted[6] != IPPROTO_UDP || !goes_to(quoted, kIpv6Header, tunnel_port))
    return std::nullopt;
  const uint32_t mtu = uint32_t{be16(message, 4)} << 16 | be16(message, 6);
  return TooBig{Ip::from_v6_bytes(&quoted[24]), static_cast<uint16_t>(std::min(mtu, 65'535u))};
}

namespace {

// A raw socket of one family, read when it has something.
struct Ear {
  using Read = std::optional<TooBig> (*)(std::span<const uint8_t>, uint16_t);
  asio::posix::stream_descriptor socket;
  Timer pause;
  Read read;

  Ear(asio::io_context& io, Read how) : socket(io), pause(io), read(how) {}

  void stop() {
    boost::system::error_code ignored;
    pause.stop();
    if (socket.is_open()) socket.close(ignored);
  }
};

}  // namespace

struct PeerPaths::Impl : std::enable_shared_from_this<Impl> {
  struct Learned {
    uint16_t mtu;
    Clock::time_point until;
  };

  Ear v4, v6;
  uint16_t tunnel_port;
  std::function<void()> on_change;
  std::set<Ip> peers;
  std::map<Ip, Learned> learned;  // only of peers

  Impl(asio::io_context& io, uint16_t port, std::function<void()> callback)
      : v4(io, read_too_big), v6(io, read_too_big6), tunnel_port(port), on_change(std::move(callback)) {}

  void listen(Ear& ear, Fd fd) {
    ear.socket.assign(fd.release());
    wait(ear);
  }

  void wait(Ear& ear) {
    ear.socket.async_wait(asio::posix::stream_descriptor::wait_read,
                          [self = shared_from_this(), &ear](const boost::system::error_code& error) {
                            if (error || !ear.socket.is_open()) return;
                            self->read(ear);
                            ear.pause.after(kPauseMs, [self, &ear] { self->wait(ear); });
                          });
  }

  void read(Ear& ear) {
    std::array<uint8_t, 2048> buffer;
    bool changed = false;
    for (int i = 0; i < kMostReads; ++i) {
      const ssize_t got = ::recv(ear.socket.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got <= 0) break;
      if (const auto said = ear.read({buffer.data(), static_cast<size_t>(got)}, tunnel_port))
        changed |= learn(*said);
    }
    if (changed) on_change();
  }

  bool learn(const TooBig& said) {
    if (!peers.contains(said.peer)) return false;
    const uint16_t mtu = std::max(said.mtu, said.peer.is_v4() ? kSmallest : kSmallest6);
    const auto known = learned.find(said.peer);
    const bool less = known == learned.end() || mtu < known->second.mtu;
    if (!less && mtu > known->second.mtu) return false;  // of a packet sent before the smaller was known
    learned[said.peer] = {mtu, Clock::now() + kHolds};
    if (less) log::info("the path to a peer carries less", {{"peer", said.peer.str()}, {"mtu", mtu}});
    return less;
  }
};

PeerPaths::PeerPaths(asio::io_context& io, uint16_t tunnel_port, std::function<void()> on_change)
    : impl_(std::make_shared<Impl>(io, tunnel_port, std::move(on_change))) {}
PeerPaths::~PeerPaths() { stop(); }

Result<> PeerPaths::start() {
  Fd fd(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMP));
  const icmp_filter filter{.data = ~(1u << ICMP_DEST_UNREACH)};
  if (!fd || ::setsockopt(fd.get(), SOL_RAW, ICMP_FILTER, &filter, sizeof filter) != 0)
    return fail_errno(errno, "listen to ICMP errors");
  impl_->listen(impl_->v4, std::move(fd));
  Fd fd6(::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_ICMPV6));
  if (!fd6 && (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT)) return {};
  icmp6_filter filter6;
  ICMP6_FILTER_SETBLOCKALL(&filter6);
  ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter6);
  if (!fd6 || ::setsockopt(fd6.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &filter6, sizeof filter6) != 0)
    return fail_errno(errno, "listen to ICMPv6 errors");
  impl_->listen(impl_->v6, std::move(fd6));
  return {};
}

void PeerPaths::stop() {
  impl_->v4.stop();
  impl_->v6.stop();
}

Result<std::map<Ip, PeerPath>> PeerPaths::read(nl::Socket& socket, const kube::Store<kube::Node>& nodes,
                                               const std::string& own_name, const nl::Link& uplink) {
  impl_->peers.clear();
  for (const auto& [key, node] : nodes)
    if (key.name != own_name) impl_->peers.insert(node->addresses.begin(), node->addresses.end());
  std::erase_if(impl_->learned, [&](const auto& entry) {
    return !impl_->peers.contains(entry.first) || entry.second.until < Clock::now();
  });
  std::map<Ip, PeerPath> paths;
  for (const Ip& peer : impl_->peers) {
    const nl::Route way = TRY(nl::route_to(socket, peer));
    uint32_t mtu = way.mtu != 0 ? std::min(way.mtu, uplink.mtu) : uplink.mtu;
    if (const auto said = impl_->learned.find(peer); said != impl_->learned.end())
      mtu = std::min<uint32_t>(mtu, said->second.mtu);
    const uint16_t less = mtu < uplink.mtu ? static_cast<uint16_t>(std::min(mtu, 65'535u)) : 0;
    const bool neighbour = way.link == uplink.index && way.gateway.is_none();
    if (less != 0 || neighbour) paths.emplace(peer, PeerPath{.mtu = less, .neighbour = neighbour});
  }
  return paths;
}

}  // namespace thalweg::dataplane
