// Another plugin, called by one of ours (spec 1.1.0, section 4): found by name in CNI_PATH; called within
// this process where it is a link to this very program, run otherwise. Used by plugins with IPAM and by
// thalweg-multi.
#pragma once

#include <string>

#include "cni-plugins/cni.h"

namespace thalweg::cni {

// The request goes on as it is, but for the verb.
Outcome<CniResult> delegate_add(const Request& request, const std::string& type);
// DEL, CHECK, GC, STATUS.
Outcome<> delegate(Verb verb, const Request& request, const std::string& type);

// Letters, digits and "._-", no leading dot, at most 64: never a path.
bool is_plugin_type(std::string_view type);

// Takes back what a delegate has given, unless all that followed went well.
class Undo {
 public:
  explicit Undo(std::function<void()> undo) : undo_(std::move(undo)) {}
  ~Undo() {
    if (undo_) undo_();
  }
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  void keep() { undo_ = nullptr; }

 private:
  std::function<void()> undo_;
};

}  // namespace thalweg::cni
