// AdamW in one operation of libtorch over many tensors, which the binding does not have.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "native.h"

namespace {

std::vector<at::Tensor> tensors(const void *const *pointers, size_t count) {
  std::vector<at::Tensor> list;
  list.reserve(count);
  for (size_t i = 0; i < count; ++i) list.push_back(*static_cast<const at::Tensor *>(pointers[i]));
  return list;
}

}  // namespace

// Numbers of one step; the Rust side has the same structure.
struct Adam {
  double lr, beta1, beta2, decay, eps;
  int64_t step;
};

// Steps `count` weights by their gradients, moments alike, all of them in place.
extern "C" char *iota_adamw(const void *const *weights, const void *const *gradients, const void *const *first,
                            const void *const *second, size_t count, const Adam *adam) noexcept {
  return answer([&] {
    if (count == 0) return;
    const c10::NoGradGuard guard;
    const auto w = tensors(weights, count), g = tensors(gradients, count);
    const auto m = tensors(first, count), v = tensors(second, count);
    const auto step = at::full({}, static_cast<double>(adam->step), w[0].options().dtype(at::kFloat));
    const std::vector<at::Tensor> steps(count, step);
    at::_fused_adamw_(w, g, m, v, {}, steps, adam->lr, adam->beta1, adam->beta2, adam->decay, adam->eps,
                      /*amsgrad=*/false, /*maximize=*/false);
  });
}
