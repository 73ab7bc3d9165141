#include "cni-plugins/mac.h"

#include "cni-plugins/arguments.h"

namespace thalweg::cni {

Outcome<std::optional<nl::Mac>> read_mac(const Request& request, Fields& fields, std::string own) {
  const auto env = TRY(read_arguments(request.args, {"MAC"}));
  std::string mac = env.contains("MAC") && !env.at("MAC").empty() ? env.at("MAC") : std::move(own);
  mac = fields.object("args").object("cni").text("mac", mac);
  mac = fields.object("runtimeConfig").text("mac", mac);
  if (mac.empty()) return std::nullopt;
  const auto parsed = nl::parse_mac(mac);
  if (parsed) return *parsed;
  fields.refuse("mac", parsed.error().message);
  return std::nullopt;
}

}  // namespace thalweg::cni
