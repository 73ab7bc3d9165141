#include "kube/object.h"

#include <algorithm>

namespace thalweg::kube {

namespace {

bool holds(const LabelSelector::Requirement& requirement, const Labels& labels) {
  const auto label = labels.find(requirement.key);
  const bool present = label != labels.end();
  const bool listed =
      present && std::ranges::find(requirement.values, label->second) != requirement.values.end();
  switch (requirement.op) {
    case LabelSelector::Operator::In: return listed;
    case LabelSelector::Operator::NotIn: return !listed;
    case LabelSelector::Operator::Exists: return present;
    case LabelSelector::Operator::DoesNotExist: return !present;
  }
  return false;
}

}  // namespace

bool LabelSelector::matches(const Labels& labels) const {
  return std::ranges::all_of(requirements, [&](const Requirement& one) { return holds(one, labels); });
}

std::string ObjectRef::str() const { return std::string(info(kind).name) + " " + key.str(); }

const Meta& meta_of(const Object& object) {
  return std::visit([](const auto& one) -> const Meta& { return one->meta; }, object);
}

ObjectRef ref_of(const Object& object) { return {kind_of(object), meta_of(object).key}; }

}  // namespace thalweg::kube
