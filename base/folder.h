// The names in a folder. Used by the CNI plugins that keep a file for each attachment.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace thalweg {

// In no order, without "." and "..". No such folder: none.
Result<std::vector<std::string>> list_files(const std::string& folder);

}  // namespace thalweg
