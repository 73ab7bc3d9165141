// Rows against the standard's own map, under random histories.
#include "dataplane/intent/rows.h"

#include <gmock/gmock.h>

#include <map>
#include <random>

namespace thalweg::dataplane {
namespace {

struct Key {
  uint64_t number;
};

void expect_same(const Rows<Key, uint32_t>& rows, const std::map<uint64_t, uint32_t>& model) {
  ASSERT_EQ(rows.size(), model.size());
  for (const auto& [key, value] : rows) {
    ASSERT_TRUE(model.contains(key.number));
    EXPECT_EQ(model.at(key.number), value);
  }
}

TEST(Rows, HoldWhatAMapHolds) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    Rows<Key, uint32_t> rows;
    std::map<uint64_t, uint32_t> model;
    const uint32_t keys = 1 + random() % 300;  // few keys: much is erased and put again
    for (uint32_t step = 0; step < 5000; ++step) {
      const Key key{random() % keys};
      if (random() % 2) {
        rows[key] = step;
        model[key.number] = step;
      } else {
        ASSERT_EQ(rows.erase(key), model.erase(key.number));
      }
      ASSERT_EQ(rows.contains(key), model.contains(key.number));
      const auto found = rows.find(Key{step % keys});
      ASSERT_EQ(found != rows.end(), model.contains(step % keys));
      if (found != rows.end()) {
        ASSERT_EQ(found->second, model.at(step % keys));
      }
    }
    expect_same(rows, model);
  }
}

TEST(Rows, AreEmptyAfterClear) {
  Rows<Key, uint32_t> rows;
  EXPECT_FALSE(rows.contains(Key{1}));
  EXPECT_EQ(rows.erase(Key{1}), 0u);
  rows[Key{1}] = 2;
  EXPECT_EQ(rows.at(Key{1}), 2u);
  rows.clear();
  EXPECT_TRUE(rows.empty());
  EXPECT_THROW(rows.at(Key{1}), std::out_of_range);
}

}  // namespace
}  // namespace thalweg::dataplane
