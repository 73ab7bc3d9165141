// Which endpoints a Service port is balanced over, one case a line: each endpoint as "NUMBER NODE STATE
// hints", where the state is ready, draining (serving while it terminates), ending (terminating, serves no
// more) or unready, and hints are nodes:… and zones:…. The choice is made on n1 in zone a.
#include "dataplane/intent/endpoints.h"

#include <gmock/gmock.h>

#include <sstream>

#include "tests/dataplane/tables.h"

namespace thalweg::dataplane {
namespace {

using namespace test;
using testing::ElementsAre;
using testing::ElementsAreArray;

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> out;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, by);)
    if (!word.empty()) out.push_back(word);
  return out;
}

kube::Endpoint endpoint_of(const std::string& text) {
  const auto words = split(text, ' ');
  auto out = endpoint_at("10.1.0." + words.at(0), words.at(1));
  const std::string& state = words.at(2);
  out.ready = state == "ready";
  out.serving = state == "ready" || state == "draining";
  out.terminating = state == "draining" || state == "ending";
  for (size_t at = 3; at < words.size(); ++at)
    (words[at].starts_with("nodes:") ? out.node_hints : out.zone_hints) = split(words[at].substr(6), ',');
  return out;
}

struct ChoiceCase {
  const char* name;
  std::vector<std::string> endpoints;
  std::vector<int> cluster, local;  // the numbers chosen under each policy
};

const ChoiceCase kCases[] = {
    // ---- readiness (KEP-1669)
    {"nothing at all", {}, {}, {}},
    {"ready ones", {"1 n1 ready", "2 n2 ready"}, {1, 2}, {1}},
    {"in order of their addresses", {"3 n1 ready", "1 n2 ready", "2 n1 ready"}, {1, 2, 3}, {2, 3}},
    {"one not ready is left out", {"1 n1 unready", "2 n2 ready"}, {2}, {}},
    {"none ready, none terminating", {"1 n1 unready", "2 n2 unready"}, {}, {}},
    {"ready before draining", {"1 n1 ready", "2 n1 draining"}, {1}, {1}},
    {"draining where none is ready", {"1 n1 draining", "2 n2 draining", "3 n1 ending"}, {1, 2}, {1}},
    {"what serves no more is never chosen", {"1 n1 ending"}, {}, {}},
    {"draining, though others will be ready", {"1 n1 draining", "2 n1 unready"}, {1}, {1}},
    {"Local drains here while others are ready", {"1 n1 draining", "2 n2 ready"}, {2}, {1}},
    {"Local with ready ones here does not drain", {"1 n1 ready", "2 n1 draining", "3 n2 draining"}, {1}, {1}},
    {"Local without any here", {"1 n2 ready", "2 n2 draining"}, {1}, {}},
    {"draining elsewhere only", {"1 n2 draining"}, {1}, {}},
    // ---- hints of zones (KEP-2433, KEP-4444)
    {"zone: those meant for it", {"1 n2 ready zones:a", "2 n2 ready zones:b"}, {1}, {}},
    {"zone: a hint may name several", {"1 n2 ready zones:a,b", "2 n2 ready zones:b"}, {1}, {}},
    {"zone: one ready without a hint, all", {"1 n2 ready zones:a", "2 n2 ready"}, {1, 2}, {}},
    {"zone: none meant for it, all", {"1 n2 ready zones:b", "2 n2 ready zones:c"}, {1, 2}, {}},
    {"zone: an unready one needs no hint",
     {"1 n2 ready zones:a", "2 n2 ready zones:b", "3 n2 unready"},
     {1},
     {}},
    {"zone: an unready one meant for it is none", {"1 n2 unready zones:a", "2 n2 ready zones:b"}, {2}, {}},
    {"zone: a draining one needs no hint", {"1 n2 ready zones:a", "2 n2 draining"}, {1}, {}},
    {"zone: hints say nothing of draining", {"1 n2 draining zones:b", "2 n2 draining zones:a"}, {1, 2}, {}},
    {"zone: Local does not ask", {"1 n1 ready zones:b", "2 n2 ready zones:a"}, {2}, {1}},
    // ---- hints of nodes (KEP-3015)
    {"node: those meant for it", {"1 n1 ready nodes:n1", "2 n2 ready nodes:n2"}, {1}, {1}},
    {"node: it need not be on it", {"1 n2 ready nodes:n1", "2 n1 ready nodes:n2"}, {1}, {2}},
    {"node: one ready without a hint, all", {"1 n1 ready nodes:n1", "2 n2 ready"}, {1, 2}, {1}},
    {"node: none meant for it, all", {"1 n2 ready nodes:n2", "2 n3 ready nodes:n3"}, {1, 2}, {}},
    {"node before zone", {"1 n1 ready nodes:n1 zones:b", "2 n2 ready nodes:n2 zones:a"}, {1}, {1}},
    {"none for the node, then the zone",
     {"1 n2 ready nodes:n2 zones:a", "2 n3 ready nodes:n3 zones:b"},
     {1},
     {}},
    {"not all for nodes, then the zone", {"1 n1 ready nodes:n1 zones:b", "2 n2 ready zones:a"}, {2}, {1}},
    {"neither node nor zone, all",
     {"1 n2 ready nodes:n2 zones:b", "2 n3 ready nodes:n3 zones:c"},
     {1, 2},
     {}},
};

std::vector<int> numbers(const std::vector<Target>& targets) {
  std::vector<int> out;
  for (const auto& target : targets) out.push_back(target.ip.v4_bytes()[3]);
  return out;
}

class EndpointChoiceTest : public testing::TestWithParam<ChoiceCase> {
 protected:
  Choice choose(const Place& place) const {
    std::vector<kube::Endpoint> endpoints;
    for (const auto& text : GetParam().endpoints) endpoints.push_back(endpoint_of(text));
    // Also when they are spread over slices.
    const auto one =
        slice("d/s1", "s", {{"http", 80}}, {endpoints.begin(), endpoints.begin() + endpoints.size() / 2});
    const auto two =
        slice("d/s2", "s", {{"http", 80}}, {endpoints.begin() + endpoints.size() / 2, endpoints.end()});
    const kube::EndpointSlice* slices[] = {&two, &one};
    return choose_endpoints({.name = "http", .target_port = {}}, slices, true, place);
  }
};

TEST_P(EndpointChoiceTest, UnderEachPolicy) {
  const auto choice = choose({.node_name = "n1", .zone = "a"});
  EXPECT_THAT(numbers(choice.cluster), ElementsAreArray(GetParam().cluster)) << "Cluster";
  EXPECT_THAT(numbers(choice.local), ElementsAreArray(GetParam().local)) << "Local";
}

INSTANTIATE_TEST_SUITE_P(, EndpointChoiceTest, testing::ValuesIn(kCases), [](const auto& one) {
  std::string out;
  for (const char c : std::string(one.param.name))
    out += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return out;
});
void PrintTo(const ChoiceCase& one, std::ostream* out) { *out << one.name; }

class ChoiceTest : public testing::Test {
 protected:
  Choice choose(const Place& place, std::vector<kube::EndpointSlice> slices) {
    std::vector<const kube::EndpointSlice*> all;
    for (const auto& one : slices) all.push_back(&one);
    return choose_endpoints({.name = "http", .target_port = {}}, all, true, place);
  }
};

TEST_F(ChoiceTest, ANodeWithoutAZoneFollowsNoZoneHints) {
  auto hinted = slice("d/s", "s", {{"http", 80}},
                      {endpoint_of("1 n2 ready zones:a"), endpoint_of("2 n2 ready zones:b")});
  EXPECT_THAT(numbers(choose({.node_name = "n1", .zone = ""}, {hinted}).cluster), ElementsAre(1, 2));
  hinted.endpoints[0].zone_hints = {""};
  EXPECT_THAT(numbers(choose({.node_name = "n1", .zone = ""}, {hinted}).cluster), ElementsAre(1, 2));
}

TEST_F(ChoiceTest, AnEdgeIsNowhereAndTakesAll) {
  const auto hinted =
      slice("d/s", "s", {{"http", 80}},
            {endpoint_of("1 n1 ready nodes:n1 zones:a"), endpoint_of("2 n2 ready nodes:n2 zones:b")});
  EXPECT_THAT(numbers(choose({.node_name = "n1", .zone = "a", .nowhere = true}, {hinted}).cluster),
              ElementsAre(1, 2));
}

TEST_F(ChoiceTest, AnEndpointInTwoSlicesIsReadyIfItIsInOne) {
  const auto old = slice("d/a", "s", {{"http", 80}}, {endpoint_of("1 n1 draining")});
  const auto fresh =
      slice("d/b", "s", {{"http", 80}}, {endpoint_of("1 n1 ready"), endpoint_of("2 n1 ready")});
  EXPECT_THAT(numbers(choose({.node_name = "n1"}, {old, fresh}).cluster), ElementsAre(1, 2));
  EXPECT_THAT(numbers(choose({.node_name = "n1"}, {fresh, old}).local), ElementsAre(1, 2));
}

TEST_F(ChoiceTest, TheFirstAddressOfAnEndpointCounts) {
  auto two = endpoint_of("1 n1 ready");
  two.addresses.push_back(ip("10.1.0.99"));
  EXPECT_THAT(numbers(choose({.node_name = "n1"}, {slice("d/s", "s", {{"http", 80}}, {two})}).cluster),
              ElementsAre(1));
}

TEST_F(ChoiceTest, OnePodMayServeAPortByTwoNumbers) {
  const auto one = slice("d/a", "s", {{"http", 80}}, {endpoint_of("1 n1 ready")});
  const auto two = slice("d/b", "s", {{"http", 81}, {"other", 82}, {"http", 83, kube::Protocol::UDP}},
                         {endpoint_of("1 n1 ready")});
  const auto choice = choose({.node_name = "n1"}, {one, two});
  EXPECT_THAT(choice.cluster, ElementsAre(Target{ip("10.1.0.1"), 80}, Target{ip("10.1.0.1"), 81}));
}

}  // namespace
}  // namespace thalweg::dataplane
