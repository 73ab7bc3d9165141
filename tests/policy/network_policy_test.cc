// NetworkPolicy v1, case by case, in the words of its documentation: what a pod may be sent and may send.
// Every case is asked of the compiled rows and of the oracle.
#include <gmock/gmock.h>
#include <netinet/in.h>

#include "tests/policy/builders.h"
#include "tests/policy/oracle.h"

namespace thalweg {
namespace {

using namespace test;

// The cluster every case is about: web and db in default, a client in each of two namespaces, a metrics pod
// with two ports of one name in another place, a hostNetwork pod, a finished one.
kube::Cluster town() {
  auto hostnet = pod("default/hostnet", {{"app", "client"}}, {"192.0.2.10"});
  hostnet.host_network = true;
  auto finished = pod("default/finished", {{"app", "client"}}, {"10.1.0.9"});
  finished.finished = true;
  return cluster(ns("default", {{"team", "core"}}), ns("shop", {{"team", "shop"}}), ns("bare"),
                 pod("default/web", {{"app", "web"}}, {"10.1.0.2", "2001:db8:1::2"},
                     {{"http", 8080, kube::Protocol::TCP}, {"dns", 53, kube::Protocol::UDP}}),
                 pod("default/db", {{"app", "db"}, {"tier", "back"}}, {"10.1.0.3"},
                     {{"http", 9090, kube::Protocol::TCP}}),
                 pod("default/client", {{"app", "client"}}, {"10.1.0.4", "2001:db8:1::4"}),
                 pod("shop/client", {{"app", "client"}}, {"10.1.1.4"}, {{"http", 7070, kube::Protocol::TCP}}),
                 pod("shop/other", {{"app", "other"}}, {"10.1.1.5"}),
                 pod("bare/client", {{"app", "client"}}, {"10.1.2.4"}), hostnet, finished);
}

struct Probe {
  const char* peer;
  const char* what;  // "TCP 80", "ICMP"
  bool allowed;
};

struct Case {
  const char* name;
  std::vector<kube::NetworkPolicy> policies;
  const char* subject;
  direction way;
  std::vector<Probe> probes;
};

std::pair<uint8_t, uint16_t> transport(const std::string& text) {
  const auto space = text.find(' ');
  const auto name = text.substr(0, space);
  const uint16_t port = space == text.npos ? 0 : static_cast<uint16_t>(std::stoi(text.substr(space)));
  return {name == "TCP"    ? IPPROTO_TCP
          : name == "UDP"  ? IPPROTO_UDP
          : name == "SCTP" ? IPPROTO_SCTP
                           : IPPROTO_ICMP,
          port};
}

class NetworkPolicyTest : public testing::TestWithParam<Case> {};

TEST_P(NetworkPolicyTest, AnswersAsTheSpecificationReads) {
  const Case& one = GetParam();
  auto cluster = town();
  for (const auto& policy : one.policies) kube::put(cluster, object(policy));

  const auto subject = key_of(one.subject);
  const policy::Subjects subjects = {{subject, cluster.pods.at(subject)->ips}};
  policy::RuleBook book;
  book.compile(cluster, kube::refs(cluster), subjects, std::vector{subject});
  const auto tables = tables_of(book);

  for (const auto& probe : one.probes) {
    const auto [protocol, port] = transport(probe.what);
    const Packet packet{subject, one.way, ip(probe.peer), protocol, port};
    EXPECT_EQ(answer_of(tables, book.rule_set_of(subject), packet).allowed, probe.allowed)
        << probe.peer << " " << probe.what;
    EXPECT_EQ(allowed_by_policies(cluster, packet), probe.allowed)
        << "the oracle: " << probe.peer << " " << probe.what;
  }
}

const auto kWeb = with({{"app", "web"}});
const auto kClient = with({{"app", "client"}});

std::vector<Case> cases() {
  using Selector = kube::LabelSelector;
  const Selector not_other{{{"app", Selector::Operator::NotIn, {"other"}}}};
  const Selector has_tier{{{"tier", Selector::Operator::Exists, {}}}};
  const Selector no_team{{{"team", Selector::Operator::DoesNotExist, {}}}};
  const Selector web_or_db{{{"app", Selector::Operator::In, {"db", "web"}}}};
  const char* web = "default/web";

  return {
      {"NoPolicyAllowsEverything",
       {},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", true}, {"198.51.100.1", "ICMP", true}}},
      {"APolicyForOthersChangesNothing",
       {ingress("default/db", with({{"app", "db"}}), {})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", true}}},
      {"APolicyOfAnotherNamespaceChangesNothing",
       {ingress("shop/all", everything(), {})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", true}}},
      {"DefaultDenyIngress",
       {ingress("default/deny", everything(), {})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", false}, {"10.1.0.4", "ICMP", false}, {"198.51.100.1", "UDP 9", false}}},
      {"DefaultDenyIngressLeavesEgress",
       {ingress("default/deny", everything(), {})},
       web,
       EGRESS,
       {{"10.1.0.4", "TCP 80", true}}},
      {"DefaultDenyEgress",
       {egress("default/deny", everything(), {})},
       web,
       EGRESS,
       {{"10.1.0.4", "TCP 80", false}, {"2001:db8:1::4", "TCP 80", false}}},
      {"AllowAllIngress",
       {ingress("default/all", everything(), {{{}, {}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", true}, {"198.51.100.1", "ICMP", true}, {"2001:db8:9::1", "UDP 1", true}}},
      {"DenyAndAllowAdd",
       {ingress("default/a-deny", everything(), {}),
        ingress("default/b-allow", kWeb, {{{pods(kClient)}, {tcp(80)}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", true}, {"10.1.0.4", "TCP 81", false}, {"10.1.0.3", "TCP 80", false}}},
      {"PodSelectorMeansTheSameNamespace",
       {ingress("default/p", kWeb, {{{pods(kClient)}, {}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", true},
        {"2001:db8:1::4", "TCP 80", true},
        {"10.1.1.4", "TCP 80", false},
        {"10.1.0.3", "TCP 80", false}}},
      {"NamespaceSelectorMeansAllItsPods",
       {ingress("default/p", kWeb, {{{namespaces(with({{"team", "shop"}}))}, {}}})},
       web,
       INGRESS,
       {{"10.1.1.4", "TCP 80", true}, {"10.1.1.5", "TCP 80", true}, {"10.1.0.4", "TCP 80", false}}},
      {"OnePeerWithBothSelectorsIsAnd",
       {ingress("default/p", kWeb, {{{pods_of(with({{"team", "shop"}}), kClient)}, {}}})},
       web,
       INGRESS,
       {{"10.1.1.4", "TCP 80", true}, {"10.1.1.5", "TCP 80", false}, {"10.1.0.4", "TCP 80", false}}},
      {"TwoPeersWithOneSelectorEachAreOr",
       {ingress("default/p", kWeb, {{{namespaces(with({{"team", "shop"}})), pods(kClient)}, {}}})},
       web,
       INGRESS,
       {{"10.1.1.4", "TCP 80", true},
        {"10.1.1.5", "TCP 80", true},
        {"10.1.0.4", "TCP 80", true},
        {"10.1.2.4", "TCP 80", false}}},
      {"EmptyNamespaceSelectorMeansEveryPodButNotTheWorld",
       {ingress("default/p", kWeb, {{{namespaces(everything())}, {}}})},
       web,
       INGRESS,
       {{"10.1.2.4", "TCP 80", true}, {"10.1.0.3", "TCP 80", true}, {"198.51.100.1", "TCP 80", false}}},
      {"ANamespaceByItsName",
       {ingress("default/p", kWeb, {{{namespaces(with({{"kubernetes.io/metadata.name", "bare"}}))}, {}}})},
       web,
       INGRESS,
       {{"10.1.2.4", "TCP 80", true}, {"10.1.1.4", "TCP 80", false}}},
      {"OperatorNotIn",
       {ingress("default/p", kWeb, {{{pods_of(everything(), not_other)}, {}}})},
       web,
       INGRESS,
       {{"10.1.1.4", "TCP 80", true}, {"10.1.1.5", "TCP 80", false}}},
      {"OperatorExists",
       {ingress("default/p", kWeb, {{{pods(has_tier)}, {}}})},
       web,
       INGRESS,
       {{"10.1.0.3", "TCP 80", true}, {"10.1.0.4", "TCP 80", false}}},
      {"OperatorDoesNotExist",
       {ingress("default/p", kWeb, {{{namespaces(no_team)}, {}}})},
       web,
       INGRESS,
       {{"10.1.2.4", "TCP 80", true}, {"10.1.1.4", "TCP 80", false}}},
      {"OperatorInWithTwoValues",
       {ingress("default/p", kWeb, {{{pods(web_or_db)}, {}}})},
       web,
       INGRESS,
       {{"10.1.0.3", "TCP 80", true}, {"10.1.0.2", "TCP 80", true}, {"10.1.0.4", "TCP 80", false}}},
      {"IpBlockOfTheWorld",
       {ingress("default/p", kWeb, {{{block("198.51.100.0/24")}, {}}})},
       web,
       INGRESS,
       {{"198.51.100.7", "TCP 80", true}, {"198.51.101.7", "TCP 80", false}}},
      {"IpBlockExcept",
       {ingress("default/p", kWeb, {{{block("198.51.0.0/16", {"198.51.100.0/24"})}, {}}})},
       web,
       INGRESS,
       {{"198.51.1.1", "TCP 80", true}, {"198.51.100.7", "TCP 80", false}}},
      {"AnotherBlockFillsTheException",
       {ingress("default/p", kWeb,
                {{{block("198.51.0.0/16", {"198.51.100.0/24"}), block("198.51.100.128/25")}, {}}})},
       web,
       INGRESS,
       {{"198.51.100.1", "TCP 80", false}, {"198.51.100.200", "TCP 80", true}}},
      {"IpBlockCoversPodsToo",
       {ingress("default/p", kWeb,
                {{{block("10.1.0.0/16", {"10.1.1.0/24"})}, {}}, {{pods(with({{"app", "db"}}))}, {}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", true},
        {"10.1.0.3", "TCP 80", true},
        {"10.1.1.4", "TCP 80", false},
        {"10.1.2.4", "TCP 80", true}}},
      {"EveryIPv4IsNotEveryIPv6",
       {ingress("default/p", kWeb, {{{block("0.0.0.0/0")}, {}}})},
       web,
       INGRESS,
       {{"198.51.100.7", "TCP 80", true}, {"2001:db8:9::1", "TCP 80", false}}},
      {"EveryIPv6IsNotEveryIPv4",
       {ingress("default/p", kWeb, {{{block("::/0")}, {}}})},
       web,
       INGRESS,
       {{"198.51.100.7", "TCP 80", false}, {"2001:db8:9::1", "TCP 80", true}}},
      {"AHostNetworkPodIsItsNodeNotAPod",
       {ingress("default/p", kWeb, {{{pods(kClient)}, {}}})},
       web,
       INGRESS,
       {{"192.0.2.10", "TCP 80", false}}},
      {"ANodesAddressByIpBlock",
       {ingress("default/p", kWeb, {{{block("192.0.2.10/32")}, {}}})},
       web,
       INGRESS,
       {{"192.0.2.10", "TCP 80", true}, {"192.0.2.11", "TCP 80", false}}},
      {"AFinishedPodHasNoAddress",
       {ingress("default/p", kWeb, {{{pods(kClient)}, {}}})},
       web,
       INGRESS,
       {{"10.1.0.9", "TCP 80", false}}},
      {"PortsAreOfTheirProtocol",
       {ingress("default/p", kWeb, {{{}, {tcp(80), udp(53)}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", true},
        {"10.1.0.4", "UDP 80", false},
        {"10.1.0.4", "UDP 53", true},
        {"10.1.0.4", "TCP 53", false},
        {"10.1.0.4", "ICMP", false}}},
      {"ProtocolWithoutPortIsEveryPortOfIt",
       {ingress("default/p", kWeb, {{{}, {all_of(kube::Protocol::UDP)}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "UDP 1", true}, {"10.1.0.4", "UDP 65535", true}, {"10.1.0.4", "TCP 1", false}}},
      {"Sctp",
       {ingress("default/p", kWeb, {{{}, {{kube::Protocol::SCTP, kube::PortRef{5000, ""}, 0}}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "SCTP 5000", true}, {"10.1.0.4", "TCP 5000", false}}},
      {"EndPortIncludesBothEnds",
       {ingress("default/p", kWeb, {{{pods(kClient)}, {tcp(8000, 8999)}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 7999", false},
        {"10.1.0.4", "TCP 8000", true},
        {"10.1.0.4", "TCP 8500", true},
        {"10.1.0.4", "TCP 8999", true},
        {"10.1.0.4", "TCP 9000", false}}},
      {"OneRuleAndsPeersWithPorts",
       {ingress("default/p", kWeb,
                {{{pods(kClient)}, {tcp(80)}}, {{pods(with({{"app", "db"}}))}, {tcp(81)}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", true},
        {"10.1.0.4", "TCP 81", false},
        {"10.1.0.3", "TCP 81", true},
        {"10.1.0.3", "TCP 80", false}}},
      {"ANamedPortIsTheSubjectsOwn",
       {ingress("default/p", everything(), {{{}, {named("http"), named("dns", kube::Protocol::UDP)}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 8080", true},
        {"10.1.0.4", "TCP 9090", false},
        {"10.1.0.4", "UDP 53", true},
        {"10.1.0.4", "TCP 53", false}}},
      {"ANamedPortOfAnotherSubject",
       {ingress("default/p", everything(), {{{}, {named("http")}}})},
       "default/db",
       INGRESS,
       {{"10.1.0.4", "TCP 9090", true}, {"10.1.0.4", "TCP 8080", false}}},
      {"ANamedPortTheSubjectLacksAllowsNothing",
       {ingress("default/p", everything(), {{{}, {named("http")}}})},
       "default/client",
       INGRESS,
       {{"10.1.0.3", "TCP 8080", false}}},
      {"ANamedPortOfTheOtherProtocolAllowsNothing",
       {ingress("default/p", everything(), {{{}, {named("http", kube::Protocol::UDP)}}})},
       web,
       INGRESS,
       {{"10.1.0.3", "UDP 8080", false}, {"10.1.0.3", "TCP 8080", false}}},
      {"EgressNamedPortsAreThePeers",
       {egress("default/p", kClient, {{{pods_of(everything(), everything())}, {named("http")}}})},
       "default/client",
       EGRESS,
       {{"10.1.0.2", "TCP 8080", true},
        {"10.1.0.2", "TCP 9090", false},
        {"10.1.0.3", "TCP 9090", true},
        {"10.1.0.3", "TCP 8080", false},
        {"10.1.1.4", "TCP 7070", true},
        {"10.1.1.5", "TCP 7070", false}}},
      {"EgressNamedPortOfSomePeersOnly",
       {egress("default/p", kClient, {{{pods(kWeb)}, {named("http")}}})},
       "default/client",
       EGRESS,
       {{"10.1.0.2", "TCP 8080", true}, {"10.1.0.3", "TCP 9090", false}}},
      {"EgressNamedPortOfEveryPeer",
       {egress("default/p", kClient, {{{}, {named("http")}}})},
       "default/client",
       EGRESS,
       {{"10.1.0.3", "TCP 9090", true},
        {"10.1.0.2", "TCP 9090", false},
        {"198.51.100.1", "TCP 9090", false}}},
      {"EgressToPodsAndTheWorld",
       {egress("default/p", kClient, {{{pods(kWeb)}, {tcp(80)}}, {{block("198.51.100.0/24")}, {tcp(443)}}})},
       "default/client",
       EGRESS,
       {{"10.1.0.2", "TCP 80", true},
        {"10.1.0.2", "TCP 443", false},
        {"198.51.100.1", "TCP 443", true},
        {"198.51.100.1", "TCP 80", false},
        {"2001:db8:1::2", "TCP 80", true}}},
      {"BothDirectionsInOnePolicy",
       {[] {
         auto both = ingress("default/p", kClient, {{{pods(kWeb)}, {}}});
         both.isolates_egress = true;
         return both;
       }()},
       "default/client",
       EGRESS,
       {{"10.1.0.2", "TCP 80", false}}},
      {"APeerThatNamesNothingMatchesNoOne",
       {ingress("default/p", kWeb, {{{kube::PolicyPeer{}}, {}}})},
       web,
       INGRESS,
       {{"10.1.0.4", "TCP 80", false}, {"198.51.100.1", "TCP 80", false}}},
      {"AFinishedPodIsNoSubject",
       {ingress("default/deny", everything(), {})},
       "default/finished",
       INGRESS,
       {{"10.1.0.4", "TCP 80", true}}},
  };
}

INSTANTIATE_TEST_SUITE_P(Spec, NetworkPolicyTest, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace thalweg
