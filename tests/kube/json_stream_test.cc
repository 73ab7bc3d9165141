// Cutting bodies into pieces: the same pieces however the bytes arrive, bounded whatever they are.
#include "base/asio.h"
//
#include "kube/json_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

namespace json = boost::json;

namespace thalweg::kube {
namespace {

using testing::ElementsAre;
using Shape = JsonStream::Shape;

// "member=JSON" a piece, "member!ns/name@version" for one too large, "." for the end of a document.
struct Cut {
  std::vector<std::string> pieces;
  bool good = true;
  bool at_end = false;
};

Cut cut(Shape shape, std::string_view text, size_t step, JsonStreamLimits limits = {}) {
  Cut out;
  JsonStream stream(shape,
                    {.piece =
                         [&](std::string_view member, json::value piece) {
                           out.pieces.push_back(std::string(member) + "=" + json::serialize(piece));
                         },
                     .oversized =
                         [&](std::string_view member, const PieceName& name) {
                           out.pieces.push_back(std::string(member) + "!" + name.ns + "/" + name.name + "@" +
                                                name.resource_version);
                         },
                     .end = [&] { out.pieces.emplace_back("."); }},
                    limits);
  for (size_t at = 0; out.good && at < text.size(); at += step)
    out.good = stream.write(text.substr(at, step)).has_value();
  out.at_end = stream.at_end();
  return out;
}

TEST(JsonStream, AListInItsItemsWhateverTheChunks) {
  const std::string text =
      R"({"kind":"PodList","items":[{"a":[1,-2,3.5,true,null,{"b":"c\u00e9\n"}]},{"metadata":{"name":"x"}}],)"
      R"("metadata":{"resourceVersion":"7","continue":"t"}})";
  for (const size_t step : {1, 2, 3, 7, 64, 4096}) {
    const auto got = cut(Shape::List, text, step);
    EXPECT_TRUE(got.good && got.at_end) << step;
    EXPECT_THAT(got.pieces,
                ElementsAre(R"(kind="PodList")", "items={\"a\":[1,-2,3.5E0,true,null,{\"b\":\"cé\\n\"}]}",
                            R"(items={"metadata":{"name":"x"}})",
                            R"(metadata={"resourceVersion":"7","continue":"t"})", "."))
        << step;
  }
}

TEST(JsonStream, EventsOneAfterTheOther) {
  const std::string text =
      "{\"type\":\"ADDED\",\"object\":{\"items\":[1]}}\n\n{\"object\":{},\"type\":\"X\"}\n";
  for (const size_t step : {1, 5, 4096}) {
    const auto got = cut(Shape::Watch, text, step);
    EXPECT_TRUE(got.good && got.at_end);
    EXPECT_THAT(got.pieces, ElementsAre(R"(type="ADDED")", R"(object={"items":[1]})", ".", "object={}",
                                        R"(type="X")", "."));
  }
}

TEST(JsonStream, ManagedFieldsAreLeftOut) {
  const auto got =
      cut(Shape::List,
          R"({"items":[{"metadata":{"managedFields":[{"f:a":{"f:b":[{}]}},"s",1],"name":"x"},"z":1}]})", 3);
  EXPECT_THAT(got.pieces, ElementsAre(R"(items={"metadata":{"name":"x"},"z":1})", "."));
}

TEST(JsonStream, AHugePieceIsNamedAndTheOthersStay) {
  const std::string huge(5000, 'x');
  const std::string text =
      R"({"items":[{"metadata":{"namespace":"n","name":"big","resourceVersion":"9"},"s":")" + huge +
      R"("},{"metadata":{"name":"small"}}]})";
  for (const size_t step : {1, 1000}) {
    const auto got = cut(Shape::List, text, step, {.piece_bytes = 2000});
    EXPECT_TRUE(got.good);
    EXPECT_THAT(got.pieces, ElementsAre("items!n/big@9", R"(items={"metadata":{"name":"small"}})", "."));
  }
}

TEST(JsonStream, GarbageFails) {
  for (const char* text :
       {"garbage", "[1]", "{\"items\":[}", "{\"a\" 1}", "{\"items\":[{]}", "\"text\"", "{}}"}) {
    EXPECT_FALSE(cut(Shape::List, text, 1).good) << text;
  }
  const std::string deep = "{\"items\":[" + std::string(1000, '[');
  EXPECT_FALSE(cut(Shape::List, deep, 100).good);
  EXPECT_FALSE(cut(Shape::List, "{\"items\":[{}", 3).at_end) << "cut off";
}

// What is held at a time is a piece, however long the list: 20,000 objects of a kilobyte, 20 MB in all.
TEST(JsonStream, AListOfTwentyThousandIsNeverOneDocument) {
  const size_t before = ::mallinfo2().uordblks;
  if (before == 0) GTEST_SKIP() << "this allocator does not say how much is in use";
  size_t pieces = 0, most = 0;
  JsonStream stream(JsonStream::Shape::List, {.piece =
                                                  [&](std::string_view member, json::value) {
                                                    pieces += member == "items";
                                                    most = std::max(most, ::mallinfo2().uordblks);
                                                  },
                                              .oversized = {},
                                              .end = {}});
  ASSERT_TRUE(stream.write(R"({"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[)"));
  const std::string item =
      R"({"metadata":{"name":"p","annotations":{"a":")" + std::string(1000, 'x') + R"("}}})";
  for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(stream.write((i ? "," : "") + item));
  ASSERT_TRUE(stream.write("]}"));
  EXPECT_TRUE(stream.at_end());
  EXPECT_EQ(pieces, 20'000U);
  EXPECT_LT(most - before, 256U << 10);
}

}  // namespace
}  // namespace thalweg::kube
