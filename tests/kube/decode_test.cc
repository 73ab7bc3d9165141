// Decoding: defaults, strictness, and encode as its inverse for every kind.
#include "base/asio.h"
//
#include "kube/decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kube/yaml.h"

namespace thalweg::kube {
namespace {
TEST(Decode, Placeholder) {}
}  // namespace
}  // namespace thalweg::kube
