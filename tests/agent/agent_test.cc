// thalwegd on one node: pods wired by CNI, policy from their first packet, killed and started again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "bpf/abi.h"
#include "tests/agent/lab.h"

namespace thalweg::test {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

constexpr const char* kNodes = R"(
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, "fd00:10:244:1::/64"]}
status: {addresses: [{type: InternalIP, address: 192.0.2.11}, {type: InternalIP, address: "2001:db8::11"}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
spec: {podCIDR: 10.244.2.0/24, podCIDRs: [10.244.2.0/24]}
status: {addresses: [{type: InternalIP, address: 192.0.2.12}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: demo}
)";

std::string pod_yaml(const std::string& name, const std::string& role) {
  return fmt::format(
      "apiVersion: v1\nkind: Pod\nmetadata: {{name: {}, namespace: demo, labels: {{role: {}}}}}\n"
      "spec: {{nodeName: n1, containers: [{{name: c, image: c}}]}}\n",
      name, role);
}

constexpr const char* kPolicy = R"(
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-clients, namespace: demo}
spec:
  podSelector: {matchLabels: {role: server}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}]}]
)";

class AgentTest : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = lab_.why_not(); !why.empty()) GTEST_SKIP() << why;
    lab_.write_manifest("nodes.yaml", kNodes);
    lab_.write_manifest("client.yaml", pod_yaml("client", "client"));
    lab_.write_manifest("server.yaml", pod_yaml("server", "server"));
    lab_.write_manifest("stranger.yaml", pod_yaml("stranger", "stranger"));
    lab_.write_manifest("policy.yaml", kPolicy);
    lab_.start_agent();
    ASSERT_TRUE(lab_.wait_synced()) << lab_.agent_log() << lab_.get("/v1/status");
  }
  void TearDown() override {
    if (HasFailure()) std::fputs(lab_.agent_log().c_str(), stderr);
  }
  std::vector<std::string> add(const std::string& pod) {
    lab_.make_pod(pod);
    std::string body;
    EXPECT_EQ(lab_.cni("ADD", pod, &body), 200) << body;
    return Lab::ips(body);
  }
  Lab lab_;
};

TEST_F(AgentTest, PolicyHoldsFromTheFirstPacketAndWhyNamesIt) {
  const auto client = add("client"), server = add("server"), stranger = add("stranger");
  ASSERT_THAT(server, SizeIs(2)) << "one address of each family";
  EXPECT_FALSE(lab_.pings("stranger", server[0]));
  EXPECT_FALSE(lab_.pings("stranger", server[1]));
  EXPECT_TRUE(lab_.pings("client", server[0]));
  EXPECT_TRUE(lab_.pings("client", server[1]));
  EXPECT_TRUE(lab_.pings("server", stranger[0])) << "the policy isolates ingress only";
  EXPECT_EQ(lab_.on_node("ping -n -c 1 -W 1 " + server[0]).exit, 0) << "the pod's own node is always allowed";

  const Ran denied = lab_.thalweg("why demo/stranger demo/server 8080/tcp");
  EXPECT_EQ(denied.exit, 1) << denied.out;
  EXPECT_THAT(denied.out, HasSubstr("demo/only-clients"));
  const Ran allowed = lab_.thalweg("why demo/client demo/server 8080/tcp");
  EXPECT_EQ(allowed.exit, 0) << allowed.out;
  EXPECT_THAT(allowed.out, HasSubstr("demo/only-clients"));
  EXPECT_EQ(lab_.thalweg("why demo/nobody demo/server 8080/tcp").exit, 2);

  EXPECT_THAT(lab_.thalweg("status").out, HasSubstr("POLICY_INGRESS"));
  EXPECT_THAT(lab_.get("/metrics"), HasSubstr("thalweg_drops_total{reason=\"POLICY_INGRESS\"}"));
}

TEST_F(AgentTest, KilledAndStartedAgainNothingIsLost) {
  const auto client = add("client"), server = add("server");
  ASSERT_TRUE(lab_.pings("client", server[0]));
  lab_.kill_agent(SIGKILL);
  EXPECT_TRUE(lab_.pings("client", server[0])) << "the kernel forwards without the agent";
  lab_.start_agent();
  ASSERT_TRUE(lab_.wait_synced()) << lab_.agent_log();
  EXPECT_TRUE(lab_.pings("client", server[0]));
  if (lab_.has_cgroup()) {
    EXPECT_THAT(lab_.get("/v1/status"), HasSubstr("\"program\":\"connect4\""));
  }
  std::string body;
  EXPECT_EQ(lab_.cni("CHECK", "server", &body), 200) << body;
  const auto stranger = add("stranger");
  ASSERT_THAT(stranger, SizeIs(2));
  EXPECT_NE(stranger[0], client[0]);
  EXPECT_NE(stranger[0], server[0]);
  EXPECT_FALSE(lab_.pings("stranger", server[0]));
}

TEST_F(AgentTest, BootsFromTheLastGoodObjectsWhenTheirSourceIsAway) {
  const auto client = add("client"), server = add("server");
  lab_.kill_agent(SIGTERM);
  lab_.start_agent();
  ASSERT_TRUE(lab_.wait_synced()) << lab_.agent_log();
  EXPECT_THAT(lab_.get("/v1/status"), HasSubstr("\"bootedFromSavedObjects\":false"));
  lab_.kill_agent(SIGTERM);
  lab_.start_agent(/*source_away=*/true);
  ASSERT_TRUE(lab_.wait_status({"\"bootedFromSavedObjects\":true", "\"ready\":true"})) << lab_.agent_log();
  EXPECT_TRUE(lab_.pings("client", server[0]));
}

TEST_F(AgentTest, AddOfAnUnknownPodFailsClosedAndLeavesNothing) {
  lab_.make_pod("ghost");
  std::string body;
  EXPECT_EQ(lab_.cni("ADD", "ghost", &body), 500);
  EXPECT_THAT(body, HasSubstr("\"code\":11"));
  EXPECT_THAT(body, HasSubstr("demo/ghost"));
  EXPECT_EQ(lab_.in_pod("ghost", "ip link show eth0").exit, 1);
  EXPECT_THAT(lab_.get("/v1/status"), HasSubstr("\"pods\":[]"));
}

TEST_F(AgentTest, RowsAndHooksSomeoneRemovedComeBack) {
  const auto client = add("client"), server = add("server");
  const int endpoints = bpf_obj_get(lab_.pin_of("endpoints").c_str());
  ASSERT_GE(endpoints, 0);
  char key[sizeof(addr)];
  while (bpf_map_get_next_key(endpoints, nullptr, key) == 0) bpf_map_delete_elem(endpoints, key);
  ::close(endpoints);
  sh("rm " + lab_.pins() + "/links/from_pod/*");
  bool back = false;
  for (int tries = 0; tries < 20 && !back; ++tries) back = lab_.pings("client", server[0]);
  EXPECT_TRUE(back);
  EXPECT_THAT(sh("ls " + lab_.pins() + "/links/from_pod").out, HasSubstr("tw"));
  EXPECT_THAT(lab_.get("/metrics"), HasSubstr("thalweg_drift_repaired_total{table=\"endpoints\"} 4"));
}

TEST_F(AgentTest, DelIsIdempotentAndCleanupLeavesNothing) {
  add("client");
  EXPECT_EQ(lab_.cni("DEL", "client"), 200);
  EXPECT_EQ(lab_.cni("DEL", "client"), 200);
  EXPECT_EQ(lab_.cni("CHECK", "client"), 500);
  EXPECT_EQ(lab_.in_pod("client", "ip link show eth0").exit, 1);
  EXPECT_THAT(lab_.get("/v1/status"), HasSubstr("\"pods\":[]"));
  EXPECT_THAT(lab_.on_node("ip route").out, HasSubstr("10.244.2.0/24 via 169.254.1.1 dev thalweg_host"));
  lab_.kill_agent(SIGTERM);
  EXPECT_EQ(lab_.thalweg("status").exit, 3) << "no agent";
  EXPECT_EQ(lab_.cleanup().exit, 0);
  EXPECT_EQ(lab_.on_node("ip link show thalweg_host").exit, 1);
  EXPECT_THAT(lab_.on_node("ip route").out, testing::Not(HasSubstr("10.244.2.0/24")));
}

}  // namespace
}  // namespace thalweg::test
