// What CNI ADD made and DEL has not yet unmade, one small file each, so that a restarted agent knows its
// pods. Written and read by the CNI server, on the agent's thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/link.h"
#include "dataplane/agent/ipam.h"
#include "kube/object.h"

namespace thalweg::dataplane {

struct AttachedPod {
  Attachment attachment;
  kube::ObjectKey pod;
  std::string network;  // the CNI configuration's name: GC concerns one network
  std::string netns_path;
  std::string host_link;
  std::vector<Ip> ips;
  nl::Mac mac{};
  nl::Mac host_mac{};
  uint32_t mtu = 0;
};

class Attachments {
 public:
  // Reads every record in the folder. One that cannot be read is left where it is and named in unreadable():
  // its pod keeps its address and its link, but is not served.
  static Result<Attachments> open(const std::string& folder);

  // Durable when it returns.
  Result<> put(const AttachedPod& pod);
  // Absent is no error.
  Result<> erase(const Attachment& attachment);
  const AttachedPod* find(const Attachment& attachment) const;
  const std::map<Attachment, AttachedPod>& all() const { return all_; }
  const std::vector<std::string>& unreadable() const { return unreadable_; }

 private:
  std::string path_of(const Attachment& attachment) const;
  std::string folder_;
  std::map<Attachment, AttachedPod> all_;
  std::vector<std::string> unreadable_;
};

}  // namespace thalweg::dataplane
