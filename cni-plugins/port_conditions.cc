#include "cni-plugins/port_conditions.h"

#include <sstream>

#include "base/link.h"

namespace thalweg::cni {

namespace {

class Words {
 public:
  explicit Words(const std::vector<std::string>& lines) {
    for (const std::string& line : lines) {
      std::istringstream in(line);
      for (std::string word; in >> word;) words_.push_back(word);
    }
  }
  bool done() const { return at_ == words_.size(); }
  std::string next() { return done() ? "" : words_[at_++]; }
  bool take(std::initializer_list<std::string_view> any) {
    for (const std::string_view word : any)
      if (!done() && words_[at_] == word) return ++at_, true;
    return false;
  }

 private:
  std::vector<std::string> words_;
  size_t at_ = 0;
};

Result<PortCondition> of_address(Words& words, bool v4, nft::Side side, nft::Match match) {
  const std::string text = words.next();
  const auto ip = Ip::parse(text);
  const Cidr subnet = ip ? Cidr::host(*ip) : TRY(Cidr::parse_lenient(text));
  if (subnet.is_v4() != v4) return fail("\"{}\" is of the other family", text);
  return PortCondition{v4, side, match, subnet, ""};
}

Result<PortCondition> of_link(Words& words, bool v4) {
  std::string name = words.next();
  if (name.size() > 2 && name.front() == '"' && name.back() == '"') name = name.substr(1, name.size() - 2);
  if (!nl::is_link_name(name)) return fail("\"{}\" is no link's name", name);
  return PortCondition{v4, nft::Side::Source, nft::Match::Is, Cidr(), name};
}

Result<PortCondition> read_one(Words& words, bool v4) {
  nft::Match match = words.take({"!"}) ? nft::Match::IsNot : nft::Match::Is;
  if (words.take({"-s", "--source", "--src"})) return of_address(words, v4, nft::Side::Source, match);
  if (words.take({"-d", "--destination", "--dst"}))
    return of_address(words, v4, nft::Side::Destination, match);
  if (match == nft::Match::Is && words.take({"-i", "--in-interface", "iifname", "iif"}))
    return of_link(words, v4);
  if (!words.take({v4 ? "ip" : "ip6"})) return fail("\"{}\" is not understood here", words.next());
  const bool source = words.take({"saddr"});
  if (!source && !words.take({"daddr"})) return fail("\"{}\" is not understood here", words.next());
  if (words.take({"!="})) match = nft::Match::IsNot;
  (void)words.take({"=="});
  return of_address(words, v4, source ? nft::Side::Source : nft::Side::Destination, match);
}

}  // namespace

void PortCondition::put(nft::Expressions& rule) const {
  link.empty() ? rule.address(side, subnet, match) : rule.input_link(link);
}

void read_conditions(Fields& fields, std::string_view key, bool v4, std::vector<PortCondition>& out) {
  Words words(fields.texts(key));
  while (!words.done()) {
    auto condition = read_one(words, v4);
    if (!condition) return fields.refuse(key, condition.error().message);
    out.push_back(std::move(*condition));
  }
}

}  // namespace thalweg::cni
