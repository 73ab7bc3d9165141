// Filters: values in a Route, applied in order; what a route changes about the messages that take it.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "ingress/message.h"

namespace thalweg::ingress {

enum class Side : uint8_t { Request, Response };

struct SetHeader {
  Side side;
  std::string name;
  std::string value;
};
struct AddHeader {
  Side side;
  std::string name;
  std::string value;
};
struct RemoveHeader {
  Side side;
  std::string name;
};
using Filter = std::variant<SetHeader, AddHeader, RemoveHeader>;

inline void apply(const SetHeader& filter, Headers& headers) { headers.set(filter.name, filter.value); }
inline void apply(const AddHeader& filter, Headers& headers) { headers.add(filter.name, filter.value); }
inline void apply(const RemoveHeader& filter, Headers& headers) { headers.remove(filter.name); }

inline void apply(const std::vector<Filter>& filters, Side side, Headers& headers) {
  for (const auto& filter : filters)
    std::visit(
        [&](const auto& one) {
          if (one.side == side) apply(one, headers);
        },
        filter);
}

}  // namespace thalweg::ingress
