// Starts autograd from a gradient that is given, as torch.autograd.grad does. The binding's own backward
// pass starts from ones.

#include <torch/csrc/autograd/autograd.h>

#include "native.h"

// Gradients of `output` by `count` inputs, `gradient` being that by the output: one new tensor for each in
// `gradients`, which the caller owns. On failure nothing is written.
extern "C" char *iota_gradients(const void *output, const void *gradient, const void *const *inputs,
                                size_t count, void **gradients) noexcept {
  return answer([&] {
    torch::autograd::variable_list wanted;
    wanted.reserve(count);
    for (size_t i = 0; i < count; ++i) wanted.push_back(*static_cast<const at::Tensor *>(inputs[i]));
    auto found = torch::autograd::grad({*static_cast<const at::Tensor *>(output)}, wanted,
                                       {*static_cast<const at::Tensor *>(gradient)});
    for (size_t i = 0; i < count; ++i) gradients[i] = new at::Tensor(std::move(found[i]));
  });
}
