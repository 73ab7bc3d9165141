#include "cni-plugins/ipam/resolv_conf.h"

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <sstream>

#include "base/file.h"

namespace thalweg::cni {

namespace json = boost::json;

Result<json::object> read_resolv_conf(const std::string& path) {
  std::istringstream file(TRY(read_file(path, 64u << 10)));
  json::array nameservers, search, options;
  std::string domain;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string keyword, word;
    words >> keyword;
    json::array* const list = keyword == "search" ? &search : keyword == "options" ? &options : nullptr;
    while (words >> word) {
      if (list) list->emplace_back(word);
      if (keyword == "domain") domain = word;
      if (keyword == "nameserver") nameservers.emplace_back(word);
      if (!list) break;
    }
  }
  json::object out;
  if (!nameservers.empty()) out["nameservers"] = std::move(nameservers);
  if (!domain.empty()) out["domain"] = domain;
  if (!search.empty()) out["search"] = std::move(search);
  if (!options.empty()) out["options"] = std::move(options);
  return out;
}

}  // namespace thalweg::cni
