// The route table: the path examples of the Ingress page as one table, hosts, defaults.
#include "ingress/routes.h"

#include <gtest/gtest.h>

namespace thalweg::ingress {
namespace {

using Match = Route::Match;

struct Rule {
  Match match;
  std::string path;
};

RouteTable table_of(const std::vector<Rule>& rules) {
  RouteTable table;
  for (const auto& rule : rules)
    EXPECT_EQ(table.add("", Route{.name = "default/test", .match = rule.match, .path = rule.path}), nullptr);
  return table;
}

// https://kubernetes.io/docs/concepts/services-networking/ingress/#examples, row by row.
struct PathCase {
  std::vector<Rule> rules;
  std::string request;
  std::string taken;  // the path of the route, "" for none
};

class PathExamples : public testing::TestWithParam<PathCase> {};

TEST_P(PathExamples, TakesTheRouteTheSpecNames) {
  const auto& row = GetParam();
  const RouteTable table = table_of(row.rules);
  const Route* route = table.find("any.example", row.request);
  EXPECT_EQ(route == nullptr ? "" : route->path, row.taken) << row.request;
}

const Rule kRoot{Match::Prefix, "/"};
INSTANTIATE_TEST_SUITE_P(
    Spec, PathExamples,
    testing::Values(
        PathCase{{kRoot}, "/", "/"}, PathCase{{kRoot}, "/any/path", "/"},
        PathCase{{{Match::Exact, "/foo"}}, "/foo", "/foo"}, PathCase{{{Match::Exact, "/foo"}}, "/bar", ""},
        PathCase{{{Match::Exact, "/foo"}}, "/foo/", ""}, PathCase{{{Match::Exact, "/foo/"}}, "/foo", ""},
        PathCase{{{Match::Prefix, "/foo"}}, "/foo", "/foo"},
        PathCase{{{Match::Prefix, "/foo"}}, "/foo/", "/foo"},
        PathCase{{{Match::Prefix, "/foo/"}}, "/foo", "/foo/"},
        PathCase{{{Match::Prefix, "/foo/"}}, "/foo/", "/foo/"},
        PathCase{{{Match::Prefix, "/aaa/bb"}}, "/aaa/bbb", ""},
        PathCase{{{Match::Prefix, "/aaa/bbb"}}, "/aaa/bbb", "/aaa/bbb"},
        PathCase{{{Match::Prefix, "/aaa/bbb/"}}, "/aaa/bbb", "/aaa/bbb/"},
        PathCase{{{Match::Prefix, "/aaa/bbb"}}, "/aaa/bbb/", "/aaa/bbb"},
        PathCase{{{Match::Prefix, "/aaa/bbb"}}, "/aaa/bbb/ccc", "/aaa/bbb"},
        PathCase{{{Match::Prefix, "/aaa/bbb"}}, "/aaa/bbbxyz", ""},
        PathCase{{kRoot, {Match::Prefix, "/aaa"}}, "/aaa/ccc", "/aaa"},
        PathCase{{kRoot, {Match::Prefix, "/aaa"}, {Match::Prefix, "/aaa/bbb"}}, "/aaa/bbb", "/aaa/bbb"},
        PathCase{{kRoot, {Match::Prefix, "/aaa"}, {Match::Prefix, "/aaa/bbb"}}, "/ccc", "/"},
        PathCase{{{Match::Prefix, "/aaa"}}, "/ccc", ""}));

TEST(Routes, ExactComesBeforePrefixOfTheSamePath) {
  const RouteTable table = table_of({{Match::Prefix, "/foo"}, {Match::Exact, "/foo"}});
  EXPECT_EQ(table.find("", "/foo")->match, Match::Exact);
  EXPECT_EQ(table.find("", "/foo/x")->match, Match::Prefix);
}

TEST(Routes, PathsAreCaseSensitiveAndEmptyElementsAreElements) {
  const RouteTable table = table_of({{Match::Prefix, "/foo"}});
  EXPECT_EQ(table.find("", "/Foo"), nullptr);
  EXPECT_EQ(table.find("", "//foo"), nullptr);
  EXPECT_EQ(table.find("", "*"), nullptr);
}

TEST(Routes, PrefixFarShorterThanTheRequest) {
  const RouteTable table = table_of({{Match::Prefix, "/a"}, {Match::Prefix, "/a/b/c"}});
  const std::string deep = "/a" + std::string(16'000, '/');
  EXPECT_EQ(table.find("", deep)->path, "/a");
  EXPECT_EQ(table.find("", "/a/b/cd/e")->path, "/a");
  EXPECT_EQ(table.find("", "/a/b/c/" + std::string(5000, 'x'))->path, "/a/b/c");
}

RouteTable hosts() {
  RouteTable table;
  table.add("foo.bar.com", {.name = "exact", .path = "/x"});
  table.add("*.bar.com", {.name = "wild"});
  table.add("", {.name = "any", .path = "/any"});
  return table;
}

TEST(Routes, WildcardCoversOneLabel) {
  RouteTable table;
  table.add("*.foo.com", {.name = "wild"});
  EXPECT_NE(table.find("bar.foo.com", "/"), nullptr);
  EXPECT_EQ(table.find("baz.bar.foo.com", "/"), nullptr);
  EXPECT_EQ(table.find("foo.com", "/"), nullptr);
  EXPECT_EQ(table.find(".foo.com", "/"), nullptr);
}

TEST(Routes, MostSpecificHostThatHasThePath) {
  const RouteTable table = hosts();
  EXPECT_EQ(table.find("foo.bar.com", "/x")->name, "exact");
  EXPECT_EQ(table.find("foo.bar.com", "/y")->name, "wild");
  EXPECT_EQ(table.find("other.com", "/any")->name, "any");
  EXPECT_EQ(table.find("other.com", "/y"), nullptr);
  EXPECT_EQ(table.find("", "/any")->name, "any");
}

TEST(Routes, DefaultOfTheHostBeforeTheDefaultOfAll) {
  RouteTable table = hosts();
  table.add_default("", {.name = "default"});
  table.add_default("a.com", {.name = "default of a"});
  EXPECT_EQ(table.find("a.com", "/y")->name, "default of a");
  EXPECT_EQ(table.find("a.com", "/any")->name, "any");
  EXPECT_EQ(table.find("b.com", "/y")->name, "default");
}

TEST(Routes, SecondClaimLosesAndTheFirstIsNamed) {
  RouteTable table;
  EXPECT_EQ(table.add("a.com", {.name = "first", .path = "/foo"}), nullptr);
  const Route* other = table.add("a.com", {.name = "second", .path = "/foo/"});
  ASSERT_NE(other, nullptr);
  EXPECT_EQ(other->name, "first");
  EXPECT_EQ(table.find("a.com", "/foo")->name, "first");
  EXPECT_EQ(table.size(), 1u);
}

TEST(Filters, AreAppliedInOrderToTheirSide) {
  const std::vector<Filter> filters = {SetHeader{Side::Request, "X-A", "1"},
                                       AddHeader{Side::Request, "x-a", "2"},
                                       RemoveHeader{Side::Response, "Server"}};
  Headers request, response;
  request.add("x-a", "from the client");
  response.add("server", "s");
  apply(filters, Side::Request, request);
  apply(filters, Side::Response, response);
  EXPECT_EQ(request.count("X-A"), 2u);
  EXPECT_EQ(*request.find("X-A"), "1");
  EXPECT_EQ(response.size(), 0u);
}

}  // namespace
}  // namespace thalweg::ingress
