// Cuts an HTTP body, as it arrives, into the pieces of a list or of a stream of watch events, each piece a
// small document of its own: a list of 100,000 objects is never one. Used by kube/client.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace thalweg::kube {

struct JsonStreamLimits {
  size_t piece_bytes = 3 << 20;  // etcd takes 1.5 MiB; a larger piece is skipped and told to oversized
  size_t depth = 64;
};

// What can be said of a piece that was not built.
struct PieceName {
  std::string ns;
  std::string name;
  std::string resource_version;
};

// A list: piece("items", object) for each item, piece("metadata", …) and other members of the document once.
// A watch: piece("type", …), piece("object", …) for each event, then end() after each event.
class JsonStream {
 public:
  enum class Shape : uint8_t { List, Watch };
  struct Callbacks {
    std::function<void(std::string_view member, boost::json::value piece)> piece;
    std::function<void(std::string_view member, PieceName name)> oversized;
    std::function<void()> end;  // of a document
  };

  JsonStream(Shape shape, Callbacks callbacks, JsonStreamLimits limits = {});
  ~JsonStream();

  // Fails on what is no JSON; the stream is then of no more use.
  Result<> write(std::string_view bytes);
  // True between two documents: the body may end here.
  bool at_end() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg::kube
