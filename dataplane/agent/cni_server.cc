#include "dataplane/agent/cni_server.h"

#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "dataplane/agent/pod_link.h"

namespace thalweg::dataplane {
namespace {

using Clock = std::chrono::steady_clock;
const std::vector<double> kSecondsBounds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

PodLinkSpec spec_of(const AttachedPod& pod) {
  return {.netns_path = pod.netns_path,
          .ifname = pod.attachment.ifname,
          .host_name = pod.host_link,
          .ips = pod.ips,
          .mtu = pod.mtu};
}

CniOutcome<> as_outcome(const Result<>& result, uint32_t code, std::string_view what) {
  if (result) return {};
  return std::unexpected(CniFailure{code, std::string(what), result.error().message});
}

LocalPod local_pod(const AttachedPod& pod, uint32_t ifindex) {
  return {.key = pod.pod, .ips = pod.ips, .ifindex = ifindex, .mac = pod.mac, .host_mac = pod.host_mac};
}

}  // namespace

// An ADD under way: first it waits to begin (the agent in sync, its Pod known), then for its rows.
struct CniServer::Waiting {
  CniRequest request;
  http::Respond respond;
  Timer deadline;
  Clock::time_point begun = Clock::now();
  std::optional<AttachedPod> made = {};
  std::string for_what = {};
};

CniServer::CniServer(asio::io_context& io, Forwarding& forwarding, Ipam& ipam, Attachments& attachments,
                     metrics::Registry& metrics, CniSurroundings surroundings)
    : io_(io),
      forwarding_(forwarding),
      ipam_(ipam),
      attachments_(attachments),
      metrics_(metrics),
      surroundings_(std::move(surroundings)) {}

CniServer::~CniServer() { stop(); }

void CniServer::stop() { waiting_.clear(); }

// ---- after a restart

Result<> CniServer::recover() {
  nl::Socket socket = TRY(nl::Socket::open());
  std::vector<Attachment> gone;
  for (const auto& [attachment, pod] : attachments_.all()) {
    const auto link = nl::link_by_name(socket, pod.host_link);
    if (!link) {
      gone.push_back(attachment);
      continue;
    }
    put_link(pod, link->index);
    const auto repaired = repair_pod_side(spec_of(pod));
    if (!repaired)
      log::warn("the pod's side", {{"pod", pod.pod.str()}, {"error", repaired.error().message}});
    else if (*repaired)
      log::warn("the pod's side was damaged, repaired", {{"pod", pod.pod.str()}});
  }
  for (const Lease& lease : ipam_.leases())
    if (attachments_.find(lease.attachment) == nullptr && attachments_.unreadable().empty())
      gone.push_back(lease.attachment);
  for (const Attachment& attachment : gone) {
    log::info("attachment gone", {{"container", attachment.container_id}, {"ifname", attachment.ifname}});
    if (auto done = disconnect(attachment); !done) log::warn("clean up", {{"error", done.error().message}});
  }
  return {};
}

Result<> CniServer::attach_all() {
  for (const auto& [key, owner] : link_owner_)
    if (const AttachedPod* pod = attachments_.find(owner)) TRY(attach(*pod, links_.at(key).ifindex));
  return {};
}

void CniServer::set_mtu(uint32_t mtu) {
  std::vector<AttachedPod> others;
  for (const auto& [attachment, pod] : attachments_.all())
    if (pod.mtu != mtu) others.push_back(pod);
  for (AttachedPod& pod : others) {
    pod.mtu = mtu;
    const auto recorded = attachments_.put(pod);
    const auto done = recorded ? repair_pod_side(spec_of(pod)) : std::unexpected(recorded.error());
    if (!done) log::warn("the pod's MTU", {{"pod", pod.pod.str()}, {"error", done.error().message}});
  }
  if (!others.empty()) log::info("pods have another MTU", {{"pods", others.size()}, {"mtu", mtu}});
}

void CniServer::add_host_sides(HostState& state) const {
  for (const auto& [key, owner] : link_owner_)
    if (const AttachedPod* pod = attachments_.find(owner))
      add_host_side(spec_of(*pod), links_.at(key).ifindex, state);
}

std::vector<std::string> CniServer::links() const {
  std::vector<std::string> names;
  for (const auto& [attachment, pod] : attachments_.all()) names.push_back(pod.host_link);
  return names;
}

// ---- requests

void CniServer::handle(http::Request http_request, http::Respond respond) {
  auto request = read_cni_request(http_request.body);
  if (!request) return answer(CniVerb::STATUS, respond, std::unexpected(request.error()));
  const CniVerb verb = request->verb;
  if (verb == CniVerb::ADD) return add(std::move(*request), std::move(respond));
  CniOutcome<> done;
  switch (verb) {
    case CniVerb::DEL: done = remove(request->attachment); break;
    case CniVerb::CHECK: done = check(*request); break;
    case CniVerb::GC: done = collect_garbage(*request); break;
    default:
      if (const std::string why = surroundings_.why_not_ready(); !why.empty())
        done = std::unexpected(CniFailure{kCniNotAvailable, why});
  }
  if (!done) return answer(verb, respond, std::unexpected(done.error()));
  answer(verb, respond, std::string("{}"));
}

void CniServer::answer(CniVerb verb, const http::Respond& respond, const CniOutcome<std::string>& outcome) {
  metrics_
      .counter("thalweg_cni_requests_total", "CNI requests answered",
               {{"verb", std::string(verb_name(verb))}, {"result", outcome ? "ok" : "error"}})
      .add();
  if (!outcome)
    log::warn("cni refused", {{"verb", verb_name(verb)},
                              {"code", outcome.error().code},
                              {"error", outcome.error().msg},
                              {"details", outcome.error().details}});
  respond({outcome ? 200 : 500, "application/json", outcome ? *outcome : cni_error(outcome.error())});
}

void CniServer::add(CniRequest request, http::Respond respond) {
  const Attachment attachment = request.attachment;
  if (waiting_.contains(attachment))
    return answer(CniVerb::ADD, respond,
                  std::unexpected(CniFailure{kCniTryAgainLater, "an ADD of this attachment is under way"}));
  auto& entry = waiting_[attachment];
  entry = std::make_unique<Waiting>(
      Waiting{.request = std::move(request), .respond = std::move(respond), .deadline = Timer(io_)});
  entry->deadline.after(surroundings_.pod_wait_ms, [this, attachment] {
    const auto late = waiting_.find(attachment);
    if (late == waiting_.end()) return;
    const std::unique_ptr<Waiting> waiting = std::move(late->second);
    waiting_.erase(late);
    if (waiting->made) (void)disconnect(attachment);
    answer(CniVerb::ADD, waiting->respond,
           std::unexpected(CniFailure{kCniTryAgainLater, "waited in vain", waiting->for_what}));
  });
  poke();
}

void CniServer::poke() {
  if (poking_) return;  // advance() settles, and settling pokes
  poking_ = true;
  std::vector<Attachment> keys;
  for (const auto& [attachment, waiting] : waiting_) keys.push_back(attachment);
  for (const Attachment& key : keys) {
    const auto entry = waiting_.find(key);
    if (entry != waiting_.end() && advance(*entry->second)) waiting_.erase(key);
  }
  poking_ = false;
}

std::string CniServer::why_pod_unknown(const CniRequest& request) const {
  const auto pod = surroundings_.find_pod(request.pod);
  if (!pod) return fmt::format("the source knows no Pod {}", request.pod.str());
  if (!request.pod_uid.empty() && !pod->meta.uid.empty() && pod->meta.uid != request.pod_uid)
    return fmt::format("Pod {} has another uid than {}", request.pod.str(), request.pod_uid);
  return {};
}

bool CniServer::advance(Waiting& waiting) {
  waiting.for_what = surroundings_.why_not_ready();
  if (waiting.for_what.empty()) waiting.for_what = why_pod_unknown(waiting.request);
  if (!waiting.for_what.empty()) return false;
  if (!waiting.made) {
    auto made = connect(waiting.request);
    if (!made) {
      (void)disconnect(waiting.request.attachment);
      answer(CniVerb::ADD, waiting.respond, std::unexpected(made.error()));
      return true;
    }
    waiting.made = std::move(*made);
    surroundings_.settle();
  }
  const auto link = links_.find(waiting.made->pod);
  if (link == links_.end() || !forwarding_.holds(link->second)) {
    waiting.for_what = "the pod's rows are not in the tables yet";
    return false;
  }
  const std::chrono::duration<double> took = Clock::now() - waiting.begun;
  metrics_.histogram("thalweg_cni_add_seconds", "From CNI ADD to its answer", kSecondsBounds)
      .observe(took.count());
  log::info("pod wired", {{"pod", waiting.made->pod.str()},
                          {"ips", fmt::format("{}", fmt::join(waiting.made->ips, ","))},
                          {"link", waiting.made->host_link},
                          {"ms", static_cast<int>(took.count() * 1000)}});
  answer(CniVerb::ADD, waiting.respond, cni_result(*waiting.made));
  return true;
}

// Lease, link, record, hooks, row: each can be found again by the attachment alone, so disconnect() undoes
// any beginning of this, also after a crash.
CniOutcome<AttachedPod> CniServer::connect(const CniRequest& request) {
  const auto lease = ipam_.acquire(request.attachment, request.pod.str());
  if (!lease) return std::unexpected(CniFailure{kCniTryAgainLater, "no address", lease.error().message});
  AttachedPod pod{.attachment = request.attachment,
                  .pod = request.pod,
                  .network = request.network,
                  .netns_path = request.netns,
                  .host_link = host_link_name(request.attachment.container_id, request.attachment.ifname),
                  .ips = lease->ips,
                  .mtu = surroundings_.mtu()};
  const auto link = wire(spec_of(pod));
  if (!link)
    return std::unexpected(CniFailure{link.error().code == ENOENT ? kCniUnknownContainer : kCniFailed,
                                      "wire the pod", link.error().message});
  pod.mac = link->pod_mac;
  pod.host_mac = link->host_mac;
  if (auto done = as_outcome(attachments_.put(pod), kCniIo, "record the attachment"); !done)
    return std::unexpected(done.error());
  if (auto done = as_outcome(attach(pod, link->host_ifindex), kCniFailed, "attach the programs"); !done)
    return std::unexpected(done.error());
  put_link(pod, link->host_ifindex);
  return pod;
}

Result<> CniServer::attach(const AttachedPod& pod, uint32_t ifindex) {
  Programs* programs = TRY(forwarding_.programs());
  for (const char* program : {"from_pod", "to_pod"}) TRY(programs->attach(program, pod.host_link, ifindex));
  return {};
}

void CniServer::put_link(const AttachedPod& pod, uint32_t ifindex) {
  const LocalPod link = local_pod(pod, ifindex);
  links_[pod.pod] = link;
  link_owner_[pod.pod] = pod.attachment;
  forwarding_.compiler().put_link(link);
}

// Rows first: no packet is sent to a link or an address that is someone else's by then.
Result<> CniServer::disconnect(const Attachment& attachment) {
  if (const AttachedPod* pod = attachments_.find(attachment)) {
    const auto owner = link_owner_.find(pod->pod);
    if (owner != link_owner_.end() && owner->second == attachment) {
      forwarding_.compiler().remove_link(pod->pod);
      links_.erase(pod->pod);
      link_owner_.erase(owner);
      surroundings_.settle();
    }
  }
  const std::string host_link = host_link_name(attachment.container_id, attachment.ifname);
  TRY(TRY(forwarding_.programs())->detach(host_link));
  TRY(unwire(host_link));
  TRY(ipam_.release(attachment));
  return attachments_.erase(attachment);
}

CniOutcome<> CniServer::remove(const Attachment& attachment) {
  if (const auto entry = waiting_.find(attachment); entry != waiting_.end()) {
    answer(CniVerb::ADD, entry->second->respond,
           std::unexpected(CniFailure{kCniTryAgainLater, "overtaken by DEL"}));
    waiting_.erase(attachment);
  }
  return as_outcome(disconnect(attachment), kCniFailed, "undo the attachment");
}

CniOutcome<> CniServer::check(const CniRequest& request) {
  const AttachedPod* pod = attachments_.find(request.attachment);
  if (pod == nullptr) return std::unexpected(CniFailure{kCniUnknownContainer, "no such attachment"});
  for (const Ip& ip : request.previous_ips)
    if (std::find(pod->ips.begin(), pod->ips.end(), ip) == pod->ips.end())
      return std::unexpected(CniFailure{kCniFailed, "the pod does not have " + ip.str()});
  PodLinkSpec spec = spec_of(*pod);
  spec.netns_path = request.netns;
  if (const auto link = dataplane::check(spec); !link)
    return std::unexpected(CniFailure{kCniFailed, "the pod's link", link.error().message});
  const auto link = links_.find(pod->pod);
  if (link == links_.end() || !forwarding_.holds(link->second))
    return std::unexpected(CniFailure{kCniFailed, "the pod's rows are not in the tables"});
  return {};
}

// The spec gives GC no ifname-less attachments of other networks: only this configuration's are ours to
// judge.
CniOutcome<> CniServer::collect_garbage(const CniRequest& request) {
  std::vector<Attachment> garbage;
  for (const auto& [attachment, pod] : attachments_.all())
    if (pod.network == request.network && !request.valid.contains(attachment)) garbage.push_back(attachment);
  for (const Attachment& attachment : garbage)
    if (auto done = remove(attachment); !done) return done;
  return {};
}

}  // namespace thalweg::dataplane
