// thalweg-edge: flags; DPDK and its port; the worker on its core; the control plane on this thread.
#include "base/asio.h"
// Asio first: it is precompiled.
#include "base/file.h"
#include "base/flags.h"
#include "base/log.h"
#include "base/loop.h"
#include "dataplane/dpdk/eal.h"
#include "dataplane/dpdk/edge.h"
#include "dataplane/dpdk/port.h"

namespace thalweg::dataplane::dpdk {
namespace {

struct Arguments {
  std::string node_name;
  kube::SourceOptions objects;
  std::string port_iface;
  std::string vdev;
  std::vector<std::string> address;
  std::string mac;
  std::vector<std::string> gateway;
  std::vector<std::string> external_ip_cidr;
  std::string run_dir = "/run/thalweg-edge";
  uint32_t core = 0;
  uint32_t memory_mb = 512;
  std::string huge_dir;
  uint16_t port_mtu = 1500;
  uint32_t vni = Config().vni;
  uint16_t tunnel_port = Config().tunnel_port;
  bool busy_poll = false;
};

constexpr std::string_view kDescription =
    "Stands in front of a cluster's nodes: LoadBalancer addresses (and allowed externalIPs) are answered for "
    "here, "
    "and each connection goes by VXLAN to an endpoint on whichever node holds it. The packet path is the "
    "nodes' own, "
    "under DPDK.\n\n"
    "Its port is one network interface (--port-iface, through AF_PACKET) or any DPDK virtual device "
    "(--vdev). The "
    "addresses given here belong to this program: the kernel must have none on that interface and stay "
    "silent there "
    "(disable_ipv6=1). Where the interface is a veth, turn off segmentation on its peer (ethtool -K PEER tx "
    "off): "
    "frames larger than the MTU are not taken.\n\n"
    "The Node object of --node-name (without podCIDR) must carry --address, so that the nodes know the "
    "tunnel's other "
    "end.";

void add_flags(Flags& flags, Arguments& arguments) {
  flags.add("--node-name", arguments.node_name, "the Node object that stands for this edge",
            {.required = true});
  flags.add("--api", arguments.objects.api, "read objects from a relay: unix:PATH, or in-cluster");
  flags.add("--kubeconfig", arguments.objects.kubeconfig, "read objects from the API server this file names",
            {.is_path = true});
  flags.add("--manifests", arguments.objects.manifests,
            "read objects from this folder or file of YAML, and follow it", {.is_path = true});
  flags.add("--port-iface", arguments.port_iface, "the network interface that is the port");
  flags.add("--vdev", arguments.vdev, "instead of --port-iface: a DPDK virtual device, NAME,key=value,…");
  flags.add("--address", arguments.address, "ADDRESS/LENGTH on the port, one a family; repeatable",
            {.required = true});
  flags.add("--mac", arguments.mac, "another MAC than the port's own");
  flags.add("--gateway", arguments.gateway,
            "next hop beyond the connected network, one a family; repeatable");
  flags.add("--external-ip-cidr", arguments.external_ip_cidr,
            "range whose spec.externalIPs are served; repeatable. Without it none are");
  flags.add("--run-dir", arguments.run_dir, "folder of edge.sock (status, tables, metrics)",
            {.is_path = true});
  flags.add("--core", arguments.core, "the CPU the worker runs on");
  flags.add("--memory-mb", arguments.memory_mb, "memory for DPDK without huge pages");
  flags.add("--huge-dir", arguments.huge_dir, "a hugetlbfs mount to use instead", {.is_path = true});
  flags.add("--port-mtu", arguments.port_mtu,
            "largest IP packet of the port, bytes; tunnelled ones are 50 smaller");
  flags.add("--vni", arguments.vni, "VXLAN network identifier, as the nodes have it");
  flags.add("--tunnel-port", arguments.tunnel_port, "VXLAN's UDP port, as the nodes have it");
  flags.add("--busy-poll", arguments.busy_poll, "never sleep when idle: the CPU is given to the edge");
  flags.section("EXAMPLES",
                "thalweg-edge --node-name edge --manifests examples/demo/manifests --port-iface eth0 "
                "--address 192.0.2.20/24 --run-dir /run/edge");
  flags.section("EXIT STATUS", "0 told to stop (SIGTERM, SIGINT); 1 could not start; 2 wrong flags");
}

// The address, with its host bits, and the length of its network.
Result<Worker::Own> parse_own(const std::string& text) {
  const auto cidr = TRY(context(Cidr::parse_lenient(text), "--address"));
  return Worker::Own {
    TRY(Ip::parse(text.substr(0, text.find('/'))))
    , cidr.length()
  };
}

Result<Worker::Config> worker_config(const Arguments& arguments) {
  Worker::Config config;
  for (const auto& text : arguments.address) config.addresses.push_back(TRY(parse_own(text)));
  for (const auto& text : arguments.gateway) {
    const Ip ip = TRY(context(Ip::parse(text), "--gateway"));
    (ip.is_v4() ? config.gateway_v4 : config.gateway_v6) = ip;
  }
  config.tunnel_port = arguments.tunnel_port;
  config.busy_poll = arguments.busy_poll;
  return config;
}

Result<std::vector<Cidr>> external_ip_cidrs(const Arguments& arguments) {
  std::vector<Cidr> parsed;
  for (const auto& text : arguments.external_ip_cidr)
    parsed.push_back(TRY(context(Cidr::parse(text), "--external-ip-cidr")));
  return parsed;
}

Result<Config> edge_config(const Arguments& arguments, const Worker::Config& worker, const Port& port) {
  Config config;
  config.node_name = arguments.node_name;
  config.edge = true;
  for (const auto& own : worker.addresses) (own.ip.is_v4() ? config.v4 : config.v6) = own.ip;
  config.uplink_ifindex = 1;  // the port's name in the path's tables; the kernel has no part in it
  config.host_ifindex = 2;
  config.host_mac = port.mac();
  config.tunnel_port = arguments.tunnel_port;
  config.vni = arguments.vni;
  config.underlay_v4 = !config.v4.is_none();
  config.underlay_v6 = !config.v6.is_none();
  config.uplink_mtu = port.mtu();
  config.mtu = static_cast<uint16_t>(port.mtu() - (config.underlay_v4 ? 50 : 70));
  config.external_ip_cidrs = TRY(external_ip_cidrs(arguments));
  return config;
}

struct Device {
  std::string vdev;  // for the EAL
  std::string name;
};

Result<Device> device(const Arguments& arguments) {
  if (arguments.port_iface.empty() == arguments.vdev.empty())
    return fail("give one of --port-iface and --vdev");
  if (!arguments.vdev.empty())
    return Device{arguments.vdev, arguments.vdev.substr(0, arguments.vdev.find(','))};
  if (!nl::is_link_name(arguments.port_iface))
    return fail("--port-iface {}: no interface name", arguments.port_iface);
  return Device{af_packet_vdev(arguments.port_iface, arguments.port_mtu), kAfPacketDevice};
}

// What can be said of the flags' values before anything is tried.
Result<> check(const Arguments& arguments) {
  TRY(worker_config(arguments));
  TRY(device(arguments));
  TRY(external_ip_cidrs(arguments));
  if (!arguments.mac.empty()) TRY(context(nl::parse_mac(arguments.mac), "--mac"));
  if (arguments.port_mtu < 1280 || arguments.port_mtu > 9000)
    return fail("--port-mtu {}: not from 1280 to 9000", arguments.port_mtu);
  return kube::check(arguments.objects);
}

Result<> serve(const Arguments& arguments) {
  auto config = TRY(worker_config(arguments));
  const auto of = TRY(device(arguments));
  TRY(make_dirs(arguments.run_dir));
  Eal eal = TRY(Eal::start({.core = arguments.core,
                            .memory_mb = arguments.memory_mb,
                            .huge_dir = arguments.huge_dir,
                            .vdevs = {of.vdev}}));
  const auto pool = TRY(Pool::create("packets", 8191, af_packet_frame_bytes(arguments.port_mtu)));
  Port::Options port_options{.mtu = arguments.port_mtu};
  if (!arguments.mac.empty()) port_options.mac = TRY(context(nl::parse_mac(arguments.mac), "--mac"));
  const auto port = TRY(Port::open(of.name, pool, port_options));
  config.ports = {{port.id(), FROM_UPLINK}};
  config.mac = port.mac();
  const auto worker = TRY(Worker::create(config, pool));
  asio::io_context io;
  DpdkDatapath datapath(*worker);
  Edge edge(
      io,
      {
        TRY(edge_config(arguments, config, port))
        , arguments.run_dir + "/edge.sock", arguments.objects
      },
      datapath, port);

  TRY(eal.launch([&] { worker->run(); }));
  const StopSignals signals(io, [&](int) { io.stop(); });
  while (!worker->running()) std::this_thread::yield();
  auto started = edge.start();
  if (started) {
    log::info("forwarding", {{"port", of.name}, {"mac", nl::mac_str(port.mac())}, {"core", arguments.core}});
    run_loop(io);
  }
  edge.stop();
  worker->stop();
  eal.wait();
  return started;
}

int run(int argc, char** argv) {
  Arguments arguments;
  Flags flags("thalweg-edge", "the DPDK load balancer in front of the nodes", kDescription);
  add_flags(flags, arguments);
  if (const auto code = flags.parse(argc, argv)) return *code;
  if (const auto good = check(arguments); !good) return flags.refuse(good.error().message);
  if (const auto served = serve(arguments); !served) {
    log::error("cannot run", {{"error", served.error().message}});
    return kExitFailed;
  }
  log::info("stopped");
  return kExitOk;
}

}  // namespace
}  // namespace thalweg::dataplane::dpdk

int main(int argc, char** argv) { return thalweg::dataplane::dpdk::run(argc, argv); }
