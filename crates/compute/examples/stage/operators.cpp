// Counts libtorch operators by name while it is switched on. Loaded by both sides of the stage
// measurement, after libtorch, so that one counter judges both.
#include <ATen/record_function.h>

#include <map>
#include <memory>
#include <string>

namespace {
std::map<std::string, long> counts;
at::CallbackHandle handle;
std::string text;

std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction& function) {
  ++counts[function.name()];
  return nullptr;
}
}  // namespace

extern "C" void operators_start() {
  counts.clear();
  handle = at::addGlobalCallback(
      at::RecordFunctionCallback(enter).scopes({at::RecordScope::FUNCTION}));
}

// One line "name count" for each operator that ran; valid until the next call.
extern "C" const char* operators_stop() {
  at::removeCallback(handle);
  text.clear();
  for (const auto& [name, count] : counts) text += name + " " + std::to_string(count) + "\n";
  return text.c_str();
}
