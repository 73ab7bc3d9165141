#include "ingress/process.h"

#include <grp.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <charconv>

namespace thalweg::ingress {

namespace {

constexpr int kBacklog = 4096;

socklen_t to_sockaddr(const Endpoint& address, sockaddr_storage& out) {
  out = {};
  if (address.ip.is_v4()) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    std::memcpy(&v4.sin_addr, address.ip.v4_bytes(), 4);
    return sizeof v4;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(address.port);
  std::memcpy(&v6.sin6_addr, address.ip.bytes().data(), 16);
  return sizeof v6;
}

Result<> become(const std::string& user) {
  const passwd* entry = ::getpwnam(user.c_str());
  uid_t uid = 0;
  const auto [end, code] = std::from_chars(user.data(), user.data() + user.size(), uid);
  if (entry == nullptr && (code != std::errc() || end != user.data() + user.size()))
    return fail("--user {}: no such user", user);
  const gid_t gid = entry != nullptr ? entry->pw_gid : uid;
  if (entry != nullptr) uid = entry->pw_uid;
  if (::setgroups(0, nullptr) < 0 || ::setresgid(gid, gid, gid) < 0 || ::setresuid(uid, uid, uid) < 0)
    return fail_errno(errno, "--user {}", user);
  return {};
}

}  // namespace

Result<Endpoint> parse_address(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == text.npos) return fail("'{}' is not ADDRESS:PORT", text);
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const auto ip = Ip::parse(host);
  uint16_t port = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (!ip || code != std::errc() || end != digits.data() + digits.size())
    return fail("'{}' is not ADDRESS:PORT (192.0.2.1:80, [2001:db8::1]:80)", text);
  return Endpoint{*ip, port};
}

Result<Fd> bind_tcp(const Endpoint& address, bool shared) {
  sockaddr_storage where;
  const socklen_t size = to_sockaddr(address, where);
  Fd socket(::socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail_errno(errno, "socket for {}", address.str());
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (shared) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (where.ss_family == AF_INET6) ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&where), size) < 0)
    return fail_errno(errno, "bind {}", address.str());
  return socket;
}

Result<> start_listening(const Fd& socket) {
  if (::listen(socket.get(), kBacklog) < 0) return fail_errno(errno, "listen");
  return {};
}

Result<Endpoint> bound_address(const Fd& socket) {
  sockaddr_storage where{};
  socklen_t size = sizeof where;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&where), &size) < 0)
    return fail_errno(errno, "getsockname");
  if (where.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<sockaddr_in&>(where);
    return Endpoint{Ip::from_v4_bytes(&v4.sin_addr), ntohs(v4.sin_port)};
  }
  const auto& v6 = reinterpret_cast<sockaddr_in6&>(where);
  return Endpoint{Ip::from_v6_bytes(&v6.sin6_addr), ntohs(v6.sin6_port)};
}

uint64_t raise_open_files() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

Result<> drop_privileges(const std::string& user) {
  if (!user.empty()) TRY(become(user));
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
    ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);  // fails without CAP_SETPCAP: then exec has no_new_privs
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return fail_errno(errno, "no_new_privs");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  if (::syscall(SYS_capset, &header, none) < 0) return fail_errno(errno, "drop capabilities");
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  return {};
}

}  // namespace thalweg::ingress
