#include "dns/sockets.h"

#include <linux/capability.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cstring>

namespace thalweg::dns {

namespace {

struct Option {
  int level, name;
  bool wanted;
  const char* text;
};

Result<> set_options(int fd, std::initializer_list<Option> options) {
  for (const Option& each : options) {
    const int on = 1;
    if (each.wanted && setsockopt(fd, each.level, each.name, &on, sizeof on) != 0)
      return fail_errno(errno, "setsockopt {}", each.text);
  }
  return {};
}

socklen_t address_of(const Endpoint& at, sockaddr_storage& out) {
  std::memset(&out, 0, sizeof out);
  if (at.v4) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(at.port);
    std::memcpy(&v4.sin_addr, at.ip.v4_bytes(), 4);
    return sizeof v4;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(out);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(at.port);
  std::memcpy(&v6.sin6_addr, at.ip.bytes().data(), 16);
  return sizeof v6;
}

Result<Fd> open_one(const Endpoint& at, int type, bool shared) {
  const int family = at.v4 ? AF_INET : AF_INET6;
  Fd fd(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail_errno(errno, "socket");
  const bool udp = type == SOCK_DGRAM;
  TRY(set_options(fd.get(), {{SOL_SOCKET, SO_REUSEADDR, !udp, "SO_REUSEADDR"},
                             {SOL_SOCKET, SO_REUSEPORT, shared, "SO_REUSEPORT"},
                             {IPPROTO_IPV6, IPV6_V6ONLY, !at.v4, "IPV6_V6ONLY"},
                             {IPPROTO_IP, IP_FREEBIND, true, "IP_FREEBIND"},
                             {IPPROTO_IP, IP_PKTINFO, udp && at.v4, "IP_PKTINFO"},
                             {IPPROTO_IPV6, IPV6_RECVPKTINFO, udp && !at.v4, "IPV6_RECVPKTINFO"}}));
  const int buffer = 4 << 20;  // a burst of queries waits here; the kernel's limit may make it smaller
  if (udp) setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  // No packet-too-big message from outsiders may shrink our replies (as IP_PMTUDISC_OMIT says).
  const int pmtu = at.v4 ? IP_PMTUDISC_OMIT : IPV6_PMTUDISC_OMIT;
  if (udp)
    setsockopt(fd.get(), at.v4 ? IPPROTO_IP : IPPROTO_IPV6, at.v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER,
               &pmtu, sizeof pmtu);
  sockaddr_storage address;
  const socklen_t size = address_of(at, address);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0)
    return fail_errno(errno, "bind");
  if (!udp && listen(fd.get(), 511) != 0) return fail_errno(errno, "listen");
  return fd;
}

}  // namespace

Result<std::vector<ListenSockets>> open_sockets(const std::vector<Endpoint>& listen, bool shared) {
  std::vector<ListenSockets> out;
  for (const Endpoint& at : listen) {
    auto udp = TRY(context(open_one(at, SOCK_DGRAM, shared), "listen on {} by UDP", at.str()));
    auto tcp = TRY(context(open_one(at, SOCK_STREAM, shared), "listen on {} by TCP", at.str()));
    out.push_back({at, std::move(udp), std::move(tcp)});
  }
  return out;
}

Result<> drop_rights() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail_errno(errno, "no_new_privs");
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
    prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);  // refused without CAP_SETPCAP; the sets below decide
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2]{};
  if (syscall(SYS_capset, &header, none) != 0) return fail_errno(errno, "drop capabilities");
  return {};
}

}  // namespace thalweg::dns
