// The agent's half of the CNI plugin: POST /v1/cni. ADD answers only when the pod's rows are in the tables,
// so a pod's first packet finds its policy in place; DEL undoes the same, step by step, and is what a failed
// ADD does. On the agent's thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/asio_fwd.h"
#include "base/http.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "dataplane/agent/attachments.h"
#include "dataplane/agent/cni_request.h"
#include "dataplane/agent/forwarding.h"
#include "dataplane/agent/host_state.h"
#include "dataplane/agent/ipam.h"

namespace thalweg::dataplane {

// What it asks of the agent around it.
struct CniSurroundings {
  std::function<std::string()> why_not_ready;  // empty: in sync (or booted from saved objects) and attached
  std::function<std::shared_ptr<const kube::Pod>(const kube::ObjectKey&)> find_pod;
  std::function<void()> settle;  // compile and apply; failures are retried by the agent
  std::function<uint32_t()> mtu;
  uint64_t pod_wait_ms = 10'000;
};

class CniServer {
 public:
  CniServer(asio::io_context& io, Forwarding& forwarding, Ipam& ipam, Attachments& attachments,
            metrics::Registry& metrics, CniSurroundings surroundings);
  ~CniServer();

  // After a start: pods whose links stand become links of the compiler again; of the others, and of leases
  // that an interrupted ADD left, every trace is removed.
  Result<> recover();
  // Hooks the programs to every pod's link. After the first settling.
  Result<> attach_all();
  void handle(http::Request request, http::Respond respond);
  // What waits looks again; the agent calls it after every change.
  void poke();
  void stop();
  // The underlay's MTU has changed: so do the pods' own, and what a later CHECK expects.
  void set_mtu(uint32_t mtu);
  // What the pods' links need on the host's side.
  void add_host_sides(HostState& state) const;
  // Host-side links of the pods.
  std::vector<std::string> links() const;
  size_t waiting() const { return waiting_.size(); }

 private:
  struct Waiting;
  void add(CniRequest request, http::Respond respond);
  // True: answered (or given up), the entry can go.
  bool advance(Waiting& waiting);
  std::string why_pod_unknown(const CniRequest& request) const;
  CniOutcome<AttachedPod> connect(const CniRequest& request);
  Result<> attach(const AttachedPod& pod, uint32_t ifindex);
  void put_link(const AttachedPod& pod, uint32_t ifindex);
  Result<> disconnect(const Attachment& attachment);
  CniOutcome<> check(const CniRequest& request);
  CniOutcome<> collect_garbage(const CniRequest& request);
  CniOutcome<> remove(const Attachment& attachment);
  void answer(CniVerb verb, const http::Respond& respond, const CniOutcome<std::string>& outcome);

  asio::io_context& io_;
  Forwarding& forwarding_;
  Ipam& ipam_;
  Attachments& attachments_;
  metrics::Registry& metrics_;
  CniSurroundings surroundings_;
  std::map<Attachment, std::unique_ptr<Waiting>> waiting_;
  bool poking_ = false;
  std::map<kube::ObjectKey, LocalPod> links_;         // as the compiler knows them
  std::map<kube::ObjectKey, Attachment> link_owner_;  // a recreated pod bears the same name
};

}  // namespace thalweg::dataplane
