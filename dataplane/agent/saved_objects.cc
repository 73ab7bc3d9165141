#include "base/asio.h"
//
#include "dataplane/agent/saved_objects.h"

#include <sched.h>
#include <sys/resource.h>

#include <mutex>
#include <thread>

#include "base/file.h"
#include "base/log.h"
#include "kube/decode.h"

namespace thalweg::dataplane {
namespace {

namespace json = boost::json;

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

constexpr size_t kPartBytes = 1 << 16;

using Objects = std::vector<kube::Object>;  // immutable, so any thread may read them

Objects objects_of(const kube::Cluster& cluster) {
  Objects objects;
  kube::each_object(cluster, [&](const kube::Object& object) {
    if (kube::kind_of(object) != kube::Kind::Secret) objects.push_back(object);
  });
  return objects;
}

Result<> write_objects(const std::string& path, const Objects& objects) {
  AtomicFile file = TRY(AtomicFile::create(path, 0600));
  std::string part;
  for (const kube::Object& object : objects) {
    part += json::serialize(kube::encode(object)) + "\n";
    if (part.size() < kPartBytes) continue;
    TRY(file.append(part));
    part.clear();
  }
  TRY(file.append(part));
  return file.commit();
}

// This thread alone, on Linux: forwarding comes first.
void step_back() {
  const sched_param none{};
  ::sched_setscheduler(0, SCHED_BATCH, &none);
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 10);
}

}  // namespace

struct ObjectSaver::Impl {
  std::string path;
  std::mutex mutex;             // of the next two
  std::optional<Objects> next;  // to be written
  bool writing = false;         // the thread will look at next once more
  std::thread thread;

  void write() {
    step_back();
    while (const auto objects = take())
      if (const auto done = write_objects(path, *objects); !done)
        log::warn("objects not saved", {{"error", done.error().message}});
  }
  std::optional<Objects> take() {
    const std::lock_guard lock(mutex);
    writing = next.has_value();
    return std::exchange(next, std::nullopt);
  }
};

ObjectSaver::ObjectSaver(std::string path) : impl_(new Impl{.path = std::move(path)}) {}

ObjectSaver::~ObjectSaver() {
  if (impl_->thread.joinable()) impl_->thread.join();
}

void ObjectSaver::save(const kube::Cluster& cluster) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->next = objects_of(cluster);
    if (std::exchange(impl_->writing, true)) return;
  }
  if (impl_->thread.joinable()) impl_->thread.join();  // it has nothing left to do
  impl_->thread = std::thread([impl = impl_.get()] { impl->write(); });
}

Result<SavedObjects> load_objects(const std::string& path) {
  SavedObjects saved;
  TRY(read_lines(path, [&](std::string_view line) {
    if (const auto object = decode_line(line))
      kube::put(saved.cluster, *object);
    else
      ++saved.refused;
  }));
  return saved;
}

}  // namespace thalweg::dataplane
