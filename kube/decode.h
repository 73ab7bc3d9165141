// JSON as the API server writes it ↔ trimmed objects. Called by the API client, the manifests source and the
// relay.
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kube/object.h"

namespace thalweg::kube {

// Why one object was refused. The others of the list, file or stream are not concerned.
struct DecodeError {
  std::string object;  // "Service default/web", as far as it could be read
  std::string path;    // "spec.ports[0].port"
  std::string what;    // "expected an integer, got a string"
  std::string str() const { return object + ": " + (path.empty() ? "" : path + ": ") + what; }
};

// Decodes one object of a known kind (items of a list carry neither kind nor apiVersion) with the defaults
// the API server applies. Strict on types and on what the API's validation would refuse of the fields read.
// https://kubernetes.io/docs/reference/kubernetes-api/
std::expected<Object, DecodeError> decode(Kind kind, const boost::json::value& json);

// The kind named by apiVersion and kind; nothing when Thalweg does not read it.
// An error when the kind is one of ours in a version that is not.
Result<std::optional<Kind>> find_kind(std::string_view api_version, std::string_view kind);

// What can be read of the object's name, for errors about objects that cannot be decoded.
ObjectRef peek_ref(Kind kind, const boost::json::value& json);

// The object in the API's form, with apiVersion and kind; decode(encode(x)) == x.
boost::json::object encode(const Object& object);

}  // namespace thalweg::kube
