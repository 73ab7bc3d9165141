#include "tests/packet/xdp_node.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cstdlib>

#include "tests/packet/world.h"

namespace thalweg::packet {

Result<XdpNode> XdpNode::make(const std::string& name, int program) {
  (void)delete_netns(name);
  XdpNode node(name, TRY(create_netns(name)));
  TRY(node.connect(program));
  return node;
}

XdpNode::~XdpNode() {
  if (!name_.empty()) (void)delete_netns(name_);
}

Result<> XdpNode::command(const std::string& ip_command) {
  const std::string line = fmt::format("ip -n {} {}", name_, ip_command);
  return std::system(line.c_str()) == 0 ? Result<>() : fail("{}", line);
}

Result<> XdpNode::connect(int program) {
  TRY(command(fmt::format("link add up0 address 02:00:00:00:00:02 index {} type veth peer name up1",
                          kUplinkIfindex)));
  for (const char* each : {"link set lo up", "link set up0 up", "link set up1 up",
                           "addr add 192.0.2.1/24 dev up0", "addr add 2001:db8::1/64 dev up0 nodad",
                           "route add default via 192.0.2.254", "-6 route add default via 2001:db8::fe"})
    TRY(command(each));
  for (const auto& [address, last] : {std::pair("192.0.2.254", int{kRouter}),
                                      {"2001:db8::fe", int{kRouter}},
                                      {"2001:db8::2", 2},
                                      {"192.0.2.2", 2},
                                      {"192.0.2.3", 3},
                                      {"192.0.2.4", 4}})
    TRY(command(
        fmt::format("neigh add {} lladdr 02:00:00:00:01:{:02x} dev up0 nud permanent", address, last)));
  return netns_.run([&]() -> Result<> {
    TRY(set_sysctl("net/ipv4/conf/up0/forwarding", "1"));
    TRY(set_sysctl("net/ipv6/conf/up0/forwarding", "1"));
    link_ = Fd(bpf_link_create(program, kUplinkIfindex, BPF_XDP, nullptr));
    return link_ ? Result<>() : fail_errno(errno, "attach to up0");
  });
}

Result<RanXdp> run_xdp(int program, const Bytes& packet, Bytes* out) {
  xdp_md context{};
  context.data_end = static_cast<uint32_t>(packet.size());
  context.ingress_ifindex = kUplinkIfindex;
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet.data(),
              .data_size_in = static_cast<uint32_t>(packet.size()), .ctx_in = &context,
              .ctx_size_in = sizeof context, .repeat = 1);
  if (out != nullptr) {
    out->assign(packet.size() + 256, '\0');
    options.data_out = out->data();
    options.data_size_out = static_cast<uint32_t>(out->size());
  }
  if (bpf_prog_test_run_opts(program, &options) != 0)
    return fail_errno(errno, "run {} bytes through XDP", packet.size());
  if (out != nullptr) out->resize(options.data_size_out);
  return RanXdp{options.retval, options.duration};
}

}  // namespace thalweg::packet
