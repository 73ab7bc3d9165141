// thalwegd: the node agent.
#include "base/asio.h"

#include <charconv>

#include "base/flags.h"
#include "base/log.h"
#include "base/loop.h"
#include "dataplane/agent/agent.h"
#include "dataplane/agent/node_ports.h"
#include "dataplane/agent/xdp_uplink.h"
#include "kube/source.h"

namespace thalweg::dataplane {
namespace {

struct Given {
  AgentOptions options;
  std::vector<std::string> service_cidrs, external_ip_cidrs;
  std::string node_port_addresses = "primary";
  std::string mtu = "auto";
  std::string overlay = "vxlan";
  std::string return_mode = "snat";
  std::string xdp = "auto";
  uint32_t verify_ms = 60'000;
  bool no_masquerade = false;
  bool cleanup = false;
};

void declare(Flags& flags, Given& given) {
  AgentOptions& options = given.options;
  flags.add("--node-name", options.node_name, "this node's name, as its Node object has it");
  flags.add("--manifests", options.manifests, "objects from YAML: a folder (followed) or a file",
            {.is_path = true});
  flags.add("--kubeconfig", options.kubeconfig, "objects from the API server this file names",
            {.is_path = true});
  flags.add("--api", options.api, "objects from a relay: unix:PATH; or in-cluster");
  flags.add("--run-dir", options.run_dir, "folder of the sockets agent.sock and api.sock", {.is_path = true});
  flags.add("--state-dir", options.state_dir, "folder of what survives a reboot", {.is_path = true});
  flags.add("--bpf-dir", options.bpf_dir, "folder on a bpffs for pins", {.is_path = true});
  flags.add("--cgroup", options.cgroup, "cgroup2 folder whose processes get the socket hooks",
            {.is_path = true});
  flags.add("--uplink", options.uplink,
            "interface to the underlay (default: the one with the node's InternalIP)");
  flags.add("--service-cidr", given.service_cidrs, "range of ClusterIPs; may be repeated");
  flags.add("--external-ip-cidr", given.external_ip_cidrs,
            "range of allowed spec.externalIPs; may be repeated");
  flags.add(
      "--nodeport-addresses", given.node_port_addresses,
      "where NodePorts and healthCheckNodePorts are served: primary, or ranges of this node's addresses, "
      "comma between them");
  flags.add("--tunnel-port", options.tunnel_port, "UDP port of VXLAN");
  flags.add("--overlay", given.overlay,
            "how pods of other nodes are reached: auto is directly where the node is on the uplink's segment "
            "(docs/decisions/0004 says when that is right), by tunnel elsewhere; the same on every node",
            {.choices = {"vxlan", "auto", "direct"}});
  flags.add(
      "--return-mode", given.return_mode,
      "how a LoadBalancer's or external address answers the outside when the backend is on another node: "
      "snat (by this node) or dsr (by the backend's node itself); the same on every node",
      {.choices = {"snat", "dsr"}});
  flags.add(
      "--xdp", given.xdp,
      "what the outside asks of backends on other nodes, sent on before the kernel makes an skb of it: auto "
      "(native where that costs nothing else), native (a driver without it is an error) or off",
      {.choices = {"auto", "native", "off"}});
  flags.add("--mtu", given.mtu, "largest packet of a pod, bytes, or auto (the uplink's less 50)");
  flags.add("--no-masquerade", given.no_masquerade, "pods reach the world with their own addresses");
  flags.add("--verify-ms", given.verify_ms,
            "time between two comparisons of the real tables with the desired ones");
  flags.add("--cleanup", given.cleanup,
            "remove pins, links and routes of this node from the kernel, and exit");
  flags.section("FILES",
                "RUN/agent.sock    status, tables, metrics, CNI (HTTP/1.1, root only)\n"
                "RUN/api.sock      the objects, by the Kubernetes list/watch protocol, read-only\n"
                "STATE/objects.json, numbering, leases, attachments/  what a restart begins with");
}

Result<std::vector<Cidr>> cidrs(const std::vector<std::string>& texts, const char* flag) {
  std::vector<Cidr> parsed;
  for (const std::string& text : texts) parsed.push_back(TRY(context(Cidr::parse(text), "{}", flag)));
  return parsed;
}

Result<uint16_t> parse_mtu(const std::string& text) {
  if (text == "auto") return 0;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 576 || value > 65'535)
    return fail("--mtu {}: expected auto or 576 … 65535", text);
  return static_cast<uint16_t>(value);
}

Result<Overlay> parse_overlay(const std::string& text) {
  if (text == "vxlan") return Overlay::Vxlan;
  if (text == "auto") return Overlay::Auto;
  if (text == "direct") return Overlay::Direct;
  return fail("--overlay {}: expected vxlan, auto or direct", text);
}

Result<bool> parse_return_mode(const std::string& text) {
  if (text == "snat" || text == "dsr") return text == "dsr";
  return fail("--return-mode {}: expected snat or dsr", text);
}

Result<AgentOptions> checked(Given given) {
  AgentOptions& options = given.options;
  if (options.node_name.empty() && !given.cleanup) return fail("--node-name is required");
  TRY(kube::check({.manifests = options.manifests, .kubeconfig = options.kubeconfig, .api = options.api}));
  options.service_cidrs = TRY(cidrs(given.service_cidrs, "--service-cidr"));
  options.external_ip_cidrs = TRY(cidrs(given.external_ip_cidrs, "--external-ip-cidr"));
  options.node_port_cidrs =
      TRY(context(parse_node_port_addresses(given.node_port_addresses), "--nodeport-addresses"));
  options.mtu = TRY(parse_mtu(given.mtu));
  options.overlay = TRY(parse_overlay(given.overlay));
  options.dsr = TRY(parse_return_mode(given.return_mode));
  options.xdp = TRY(parse_xdp(given.xdp));
  options.masquerade = !given.no_masquerade;
  if (given.verify_ms < 100) return fail("--verify-ms {}: at least 100", given.verify_ms);
  options.verify_ms = given.verify_ms;
  return std::move(options);
}

int run(AgentOptions options) {
  asio::io_context io(1);
  Agent agent(io, std::move(options));
  StopSignals signals(io, [&](int signal) {
    log::info("stopping; what is pinned forwards on", {{"signal", signal}});
    agent.stop();
    io.stop();
  });
  if (const auto started = agent.start(); !started) {
    log::error("cannot start", {{"error", started.error().message}});
    return kExitFailed;
  }
  run_loop(io);
  return agent.failed() ? kExitFailed : kExitOk;
}

}  // namespace
}  // namespace thalweg::dataplane

int main(int argc, char** argv) {
  using namespace thalweg;
  Flags flags(
      "thalwegd", "the node agent of Thalweg: makes what the Kubernetes API says true on this node",
      "Reads objects, programs the kernel's tables and hooks, serves CNI on a local socket and passes the "
      "objects on. The kernel forwards on when thalwegd ends, however it ends.");
  dataplane::Given given;
  dataplane::declare(flags, given);
  if (const auto code = flags.parse(argc, argv)) return *code;
  const bool cleanup = given.cleanup;
  auto options = dataplane::checked(std::move(given));
  if (!options) return flags.refuse(options.error().message);
  if (!cleanup) return dataplane::run(std::move(*options));
  if (const auto done = dataplane::clean_up(*options); !done) {
    log::error("clean up", {{"error", done.error().message}});
    return kExitFailed;
  }
  return kExitOk;
}
