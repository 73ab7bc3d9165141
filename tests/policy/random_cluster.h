// Random objects from few names, labels, addresses and ports, so that they collide and overlap often.
#pragma once

#include "policy/rule_book.h"
#include "tests/policy/builders.h"

namespace thalweg::test {

// Changes n objects of the cluster at random; returns their references.
std::vector<kube::ObjectRef> random_changes(kube::Cluster& cluster, Dice& dice, uint32_t n);
// Now and then wires a pod of the cluster or removes a link; every subject keeps the addresses its pod has.
std::vector<kube::ObjectKey> random_subjects(const kube::Cluster& cluster, policy::Subjects& subjects,
                                             Dice& dice);

Ip random_address(Dice& dice);
uint16_t random_port(Dice& dice);

}  // namespace thalweg::test
