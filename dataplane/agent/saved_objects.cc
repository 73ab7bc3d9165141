#include "dataplane/agent/saved_objects.h"

#include "base/asio.h"
#include "base/file.h"
#include "kube/decode.h"

namespace thalweg::dataplane {
namespace {

namespace json = boost::json;
constexpr size_t kMaxBytes = 1u << 30;

Result<kube::Object> decode_line(std::string_view line) {
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) return fail("not a JSON object");
  const auto text = [&](const char* key) -> std::string_view {
    const json::value* found = value.as_object().if_contains(key);
    return found != nullptr && found->is_string() ? std::string_view(found->as_string()) : std::string_view();
  };
  const auto kind = TRY(kube::find_kind(text("apiVersion"), text("kind")));
  if (!kind || *kind == kube::Kind::Secret) return fail("not a kind that is saved");
  auto object = kube::decode(*kind, value);
  if (!object) return fail("{}", object.error().str());
  return std::move(*object);
}

}  // namespace

Result<> save_objects(const std::string& path, const kube::Cluster& cluster) {
  std::string text;
  for (const kube::ObjectRef& ref : kube::refs(cluster)) {
    if (ref.kind == kube::Kind::Secret) continue;
    if (const auto object = kube::find(cluster, ref)) text += json::serialize(kube::encode(*object)) + "\n";
  }
  return write_atomically(path, text, 0600);
}

Result<SavedObjects> load_objects(const std::string& path) {
  const std::string text = TRY(read_file(path, kMaxBytes));
  SavedObjects saved;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (const auto object = decode_line(std::string_view(text).substr(begin, end - begin)))
      kube::put(saved.cluster, *object);
    else
      ++saved.refused;
    begin = end + 1;
  }
  return saved;
}

}  // namespace thalweg::dataplane
