// One prometheus::Family per metric name, each with a bound on its label sets.
#include "base/metrics.h"

#include <prometheus/check_names.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <mutex>
#include <set>
#include <type_traits>
#include <utility>
#include <variant>

namespace thalweg::metrics {

void Counter::add(double n) const {
  if (impl_ && n > 0) impl_->Increment(n);
}

void Counter::raise_to(double total) const {
  if (!impl_) return;
  const double now = impl_->Value();
  if (total > now) impl_->Increment(total - now);
}

double Counter::value() const { return impl_ ? impl_->Value() : 0; }

void Gauge::set(double value) const {
  if (impl_) impl_->Set(value);
}
void Gauge::add(double n) const {
  if (impl_) impl_->Increment(n);
}
double Gauge::value() const { return impl_ ? impl_->Value() : 0; }

void Histogram::observe(double value) const {
  if (impl_) impl_->Observe(value);
}

namespace {

template <class T>
struct Series {
  prometheus::Family<T>* family = nullptr;
  std::set<Labels> known;
};
using AnySeries =
    std::variant<Series<prometheus::Counter>, Series<prometheus::Gauge>, Series<prometheus::Histogram>>;

bool names_are_valid(const std::string& name, const Labels& labels) {
  if (!prometheus::CheckMetricName(name)) return false;
  for (const auto& [key, value] : labels)
    if (!prometheus::CheckLabelName(key)) return false;
  return true;
}

prometheus::Family<prometheus::Counter>& build(prometheus::Registry& registry, const std::string& name,
                                               const std::string& help, prometheus::Counter*) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
prometheus::Family<prometheus::Gauge>& build(prometheus::Registry& registry, const std::string& name,
                                             const std::string& help, prometheus::Gauge*) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}
prometheus::Family<prometheus::Histogram>& build(prometheus::Registry& registry, const std::string& name,
                                                 const std::string& help, prometheus::Histogram*) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

}  // namespace

struct Registry::Impl {
  prometheus::Registry registry;
  std::mutex mutex;  // of the maps below; series themselves are atomic
  std::map<std::string, AnySeries> families;
  std::vector<std::function<void()>> collectors;
  prometheus::Counter* refused = nullptr;

  template <class T, class... Bounds>
  T* series(const std::string& name, const std::string& help, Labels labels, const Bounds&... bounds);
};

template <class T, class... Bounds>
T* Registry::Impl::series(const std::string& name, const std::string& help, Labels labels,
                          const Bounds&... bounds) {
  const std::lock_guard lock(mutex);
  if (!names_are_valid(name, labels)) return refused->Increment(), nullptr;
  auto [it, is_new] = families.try_emplace(name, Series<T>());
  auto* mine = std::get_if<Series<T>>(&it->second);
  if (!mine) return refused->Increment(), nullptr;
  if (is_new) mine->family = &build(registry, name, help, static_cast<T*>(nullptr));
  if (!mine->known.contains(labels) && mine->known.size() >= kMaxSeries) {
    refused->Increment();
    labels = {{"overflow", "true"}};
  }
  mine->known.insert(labels);
  return &mine->family->Add(labels, bounds...);
}

Registry::Registry() : impl_(std::make_unique<Impl>()) {
  impl_->refused = &prometheus::BuildCounter()
                        .Name("thalweg_metrics_series_refused_total")
                        .Help("Series not made: too many label sets of one metric, or a bad name")
                        .Register(impl_->registry)
                        .Add({});
}
Registry::~Registry() = default;

Counter Registry::counter(const std::string& name, const std::string& help, const Labels& labels) {
  return Counter(impl_->series<prometheus::Counter>(name, help, labels));
}

Gauge Registry::gauge(const std::string& name, const std::string& help, const Labels& labels) {
  return Gauge(impl_->series<prometheus::Gauge>(name, help, labels));
}

Histogram Registry::histogram(const std::string& name, const std::string& help,
                              const std::vector<double>& bounds, const Labels& labels) {
  return Histogram(impl_->series<prometheus::Histogram>(name, help, labels, bounds));
}

void Registry::before_text(std::function<void()> collect) {
  const std::lock_guard lock(impl_->mutex);
  impl_->collectors.push_back(std::move(collect));
}

std::string Registry::text() {
  std::vector<std::function<void()>> collectors;
  {
    const std::lock_guard lock(impl_->mutex);
    collectors = impl_->collectors;
  }
  for (const auto& collect : collectors) collect();
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace thalweg::metrics
