// Counters, gauges and histograms of one program, written out in the Prometheus text format (0.0.4).
// A Registry is made in main() and passed by constructor; prometheus-cpp stays behind it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace thalweg::metrics {

using Labels = std::map<std::string, std::string>;

// Handles: cheap to copy, safe from any thread, valid as long as their Registry. A default one counts
// nothing.
class Counter {
 public:
  Counter() = default;
  explicit Counter(prometheus::Counter* impl) : impl_(impl) {}
  void add(double n = 1) const;
  // For a total that is kept elsewhere (a BPF map): raises to it. A smaller one changes nothing: counters
  // only grow.
  void raise_to(double total) const;
  double value() const;

 private:
  prometheus::Counter* impl_ = nullptr;
};

class Gauge {
 public:
  Gauge() = default;
  explicit Gauge(prometheus::Gauge* impl) : impl_(impl) {}
  void set(double value) const;
  void add(double n = 1) const;
  double value() const;

 private:
  prometheus::Gauge* impl_ = nullptr;
};

class Histogram {
 public:
  Histogram() = default;
  explicit Histogram(prometheus::Histogram* impl) : impl_(impl) {}
  void observe(double value) const;

 private:
  prometheus::Histogram* impl_ = nullptr;
};

class Registry {
 public:
  // A family (metric name) never holds more label sets; further ones share the label set {overflow="true"}
  // and are counted in thalweg_metrics_series_refused_total. So hostile label values cannot fill memory.
  static constexpr size_t kMaxSeries = 1000;

  Registry();
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // The same name and labels give the same series. Names follow Prometheus: thalweg_drops_total,
  // thalweg_sync_seconds. A name that is not one (or already of another kind) yields a handle that counts
  // nothing and is counted in thalweg_metrics_series_refused_total.
  Counter counter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  Histogram histogram(const std::string& name, const std::string& help, const std::vector<double>& bounds,
                      const Labels& labels = {});

  // Called before each text(): brings in totals kept elsewhere.
  void before_text(std::function<void()> collect);
  std::string text();
  static constexpr std::string_view kContentType = "text/plain; version=0.0.4; charset=utf-8";

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace thalweg::metrics
