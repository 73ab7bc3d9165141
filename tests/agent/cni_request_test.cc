// What the agent accepts of a CNI request and how it refuses the rest.
#include "dataplane/agent/cni_request.h"

#include <gtest/gtest.h>

namespace thalweg::dataplane {
namespace {

std::string body(const std::string& command, const std::string& container, const std::string& netns,
                 const std::string& args, const std::string& config = "{\"name\":\"n\"}") {
  return fmt::format(
      R"({{"command":"{}","containerId":"{}","netns":"{}","ifname":"eth0","args":"{}","config":{}}})",
      command, container, netns, args, config);
}
const std::string kArgs = "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=web;K8S_POD_UID=u1";

TEST(CniRequest, AddIsReadWhole) {
  const auto request = read_cni_request(body("ADD", "c1", "/run/netns/x", kArgs));
  ASSERT_TRUE(request) << request.error().msg;
  EXPECT_EQ(request->verb, CniVerb::ADD);
  EXPECT_EQ(request->attachment.container_id, "c1");
  EXPECT_EQ(request->pod.str(), "demo/web");
  EXPECT_EQ(request->pod_uid, "u1");
  EXPECT_EQ(request->network, "n");
}

TEST(CniRequest, EachRefusalHasItsCode) {
  const struct {
    const char* name;
    std::string body;
    uint32_t code;
  } cases[] = {
      {"no JSON", "{", kCniDecode},
      {"a list", "[]", kCniDecode},
      {"unknown verb", body("PLUG", "c1", "/n", kArgs), kCniInvalidEnvironment},
      {"no container", body("ADD", "", "/n", kArgs), kCniInvalidEnvironment},
      {"path in the container id", body("ADD", "../x", "/n", kArgs), kCniInvalidEnvironment},
      {"relative netns", body("ADD", "c1", "n", kArgs), kCniInvalidEnvironment},
      {"no pod named", body("ADD", "c1", "/n", "IgnoreUnknown=1"), kCniInvalidEnvironment},
      {"config is a list", body("ADD", "c1", "/n", kArgs, "[]"), kCniInvalidConfig},
      {"GC without its list", body("GC", "", "", ""), kCniInvalidConfig},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.name);
    const auto request = read_cni_request(one.body);
    ASSERT_FALSE(request);
    EXPECT_EQ(request.error().code, one.code) << request.error().msg;
  }
}

TEST(CniRequest, DelNeedsNoNamespaceAndNoPod) { EXPECT_TRUE(read_cni_request(body("DEL", "c1", "", ""))); }

TEST(CniRequest, GcReadsWhatIsStillValid) {
  const auto request = read_cni_request(
      body("GC", "", "", "",
           R"({"name":"n","cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]})"));
  ASSERT_TRUE(request) << request.error().msg;
  EXPECT_TRUE(request->valid.contains({"c1", "eth0"}));
}

}  // namespace
}  // namespace thalweg::dataplane
