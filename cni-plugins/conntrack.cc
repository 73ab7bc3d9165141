#include "cni-plugins/conntrack.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/netlink.h"

namespace thalweg::cni {

namespace {

constexpr uint16_t kGet = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
constexpr uint16_t kNew = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
constexpr uint16_t kDelete = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;

// The tuple it was asked by, as the kernel wrote it.
struct Flow {
  std::string tuple, id;
};

bool is_to(const nl::Attributes& tuple, const std::set<uint16_t>& ports) {
  const nl::Attributes proto(tuple.get(CTA_TUPLE_PROTO));
  const std::string_view number = proto.bytes(CTA_PROTO_NUM), bytes = proto.bytes(CTA_PROTO_DST_PORT);
  uint16_t port = 0;
  if (number != std::string_view("\x11", 1) || bytes.size() != sizeof port) return false;
  std::memcpy(&port, bytes.data(), sizeof port);
  return ports.contains(ntohs(port));
}

Result<std::vector<Flow>> flows_to(nl::Socket& netfilter, const std::set<uint16_t>& ports, uint8_t family) {
  nl::Message message(kGet);
  message.header<nfgenmsg>().nfgen_family = family;
  return netfilter.dump<Flow>(message, [&](const nlmsghdr& reply) -> std::optional<Flow> {
    if (reply.nlmsg_type != kNew) return std::nullopt;
    const nl::Attributes attrs(reply, sizeof(nfgenmsg));
    const nlattr* tuple = attrs.get(CTA_TUPLE_ORIG);
    if (!tuple || !is_to(nl::Attributes(tuple), ports)) return std::nullopt;
    return Flow{std::string(attrs.bytes(CTA_TUPLE_ORIG)), std::string(attrs.bytes(CTA_ID))};
  });
}

}  // namespace

Result<> forget_udp_to(const std::set<uint16_t>& ports, bool v4) {
  if (ports.empty()) return {};
  const uint8_t family = v4 ? AF_INET : AF_INET6;
  auto netfilter = TRY(nl::Socket::open(NETLINK_NETFILTER));
  for (const Flow& flow : TRY(flows_to(netfilter, ports, family))) {
    nl::Message message(kDelete);
    message.header<nfgenmsg>().nfgen_family = family;
    message.put(CTA_TUPLE_ORIG | NLA_F_NESTED, flow.tuple.data(), flow.tuple.size());
    message.put(CTA_ID, flow.id.data(), flow.id.size());
    if (const auto gone = netfilter.transact(message); !gone && gone.error().code != ENOENT) return gone;
  }
  return {};
}

}  // namespace thalweg::cni
