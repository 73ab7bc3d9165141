#include "dataplane/intent/fragment.h"

namespace thalweg::dataplane {

void Sum::show(const Claim& claim, Touched& touched) {
  claim.rows.each([&](table_id table, std::string_view key, std::string_view value) {
    put(intent_, table, key, value);
    touched.emplace_back(table, key);
  });
}

void Sum::hide(const Claim& claim, Touched& touched) {
  claim.rows.each([&](table_id table, std::string_view key, std::string_view) {
    erase(intent_, table, key);
    touched.emplace_back(table, key);
  });
}

// Whoever holds a disputed claim is taken out first and the winner put in last, so rows of the two never mix.
void Sum::set(const kube::ObjectRef& object, Fragment fragment, Touched& touched) {
  const auto held = fragments_.find(object);
  if (held == fragments_.end() ? fragment == Fragment{} : held->second == fragment) return;

  Fragment old = held == fragments_.end() ? Fragment{} : std::move(held->second);
  std::unordered_set<Bytes> disputed;
  for (const auto* each : {&old, &fragment})
    for (const auto& claim : each->claims) disputed.insert(claim.of);
  for (const auto& of : disputed)
    if (const auto found = claims_.find(of); found != claims_.end())
      hide(*found->second.begin()->second, touched);

  for (const auto& claim : old.claims) claims_[claim.of].erase({claim.rank, object});
  fragments_.erase(object);
  if (fragment != Fragment{}) {
    for (auto& claim : fragment.claims) claim.rows.shrink_to_fit();
    const auto& stored = fragments_.emplace(object, std::move(fragment)).first->second;
    for (const auto& claim : stored.claims) claims_[claim.of].emplace(Candidate{claim.rank, object}, &claim);
  }
  for (const auto& of : disputed) {
    const auto found = claims_.find(of);
    if (found->second.size() > 1)
      contested_.insert(of);
    else
      contested_.erase(of);
    if (found->second.empty())
      claims_.erase(found);
    else
      show(*found->second.begin()->second, touched);
  }
}

std::vector<kube::ObjectRef> Sum::objects() const {
  std::vector<kube::ObjectRef> out;
  for (const auto& [object, fragment] : fragments_) out.push_back(object);
  return out;
}

std::vector<std::pair<std::string, std::string>> Sum::complaints() const {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& [object, fragment] : fragments_)
    for (const auto& text : fragment.complaints) out.emplace_back(object.str(), text);
  for (const auto& of : contested_) {
    const auto& candidates = claims_.at(of);
    const auto& winner = *candidates.begin();
    for (auto it = std::next(candidates.begin()); it != candidates.end(); ++it) {
      if (it->second->what.empty() || it->first.object == winner.first.object) continue;
      out.emplace_back(it->first.object.str(),
                       fmt::format("{} is already {}'s", it->second->what, winner.first.object.str()));
    }
  }
  return out;
}

}  // namespace thalweg::dataplane
