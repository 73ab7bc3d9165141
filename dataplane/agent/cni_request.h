// What thalweg-cni posts to the agent's /v1/cni, checked; and the answers in CNI's words (spec 1.1.0).
#pragma once

#include <cstdint>
#include <expected>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/agent/attachments.h"

namespace thalweg::dataplane {

// Spec 1.1.0, "Error".
enum CniCode : uint32_t {
  kCniUnknownContainer = 3,
  kCniInvalidEnvironment = 4,
  kCniIo = 5,
  kCniDecode = 6,
  kCniInvalidConfig = 7,
  kCniTryAgainLater = 11,
  kCniNotAvailable = 50,
  kCniFailed = 100,
};

struct CniFailure {
  uint32_t code = kCniFailed;
  std::string msg;
  std::string details = "";
};
template <class T = void>
using CniOutcome = std::expected<T, CniFailure>;

enum class CniVerb : uint8_t { ADD, DEL, CHECK, GC, STATUS };

struct CniRequest {
  CniVerb verb = CniVerb::STATUS;
  Attachment attachment;
  std::string netns;
  std::string network;
  kube::ObjectKey pod;           // K8S_POD_NAMESPACE, K8S_POD_NAME of CNI_ARGS; ADD requires them
  std::string pod_uid;           // K8S_POD_UID; empty: not told
  std::vector<Ip> previous_ips;  // of prevResult
  std::set<Attachment> valid;    // GC: what the runtime still knows
};

CniOutcome<CniRequest> read_cni_request(std::string_view body);
std::string_view verb_name(CniVerb verb);

// The result of ADD, in the form of 1.1.0.
std::string cni_result(const AttachedPod& pod);
std::string cni_error(const CniFailure& failure);

}  // namespace thalweg::dataplane
