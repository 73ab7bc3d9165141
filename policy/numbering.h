// The numbering as text, a line a number, so that a restarted agent gives every content the number it had.
// policy/rule_book calls it; dataplane/agent keeps the text in a file.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "policy/identity.h"
#include "policy/numbers.h"

namespace thalweg::policy {

struct Numbering {
  Numbers<std::string>& selectors;
  Numbers<Class>& classes;
  Numbers<std::string>& rule_sets;
  Numbers<std::string>& rules;
};

std::string encode(const Numbering& numbering);
// All or nothing: an error names the line, and nothing was restored.
Result<> decode(std::string_view text, const Numbering& into);

}  // namespace thalweg::policy
