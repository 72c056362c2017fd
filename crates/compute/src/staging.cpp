// Copies between the host and a device beside what the device computes: page-locked memory on the host, a
// stream of their own, and events that order it and the stream that computes. By libtorch's interface for
// any kind of device, so that it compiles where there is no CUDA.

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <memory>

#include "native.h"

namespace {

// A copy to the host that may still be under way. The source stays alive for it.
struct Download {
  at::Tensor source;
  at::Tensor host;
  c10::Event done;
};

const c10::Stream &stream_of(const void *stream) { return *static_cast<const c10::Stream *>(stream); }

// The stream that this thread computes on, on the device of the stream that copies.
c10::Stream computing(const c10::Stream &copies) {
  return c10::impl::VirtualGuardImpl(copies.device_type()).getStream(copies.device());
}

// Lets `then` wait until `first` has done what it was given so far.
void order(const c10::Stream &first, const c10::Stream &then) {
  c10::Event reached(first.device_type());
  reached.record(first);
  reached.block(then);
}

at::Tensor page_locked(at::IntArrayRef shape, at::ScalarType kind) {
  return at::empty(shape, at::TensorOptions(kind).device(at::kCPU).pinned_memory(true));
}

}  // namespace

// A stream for copies, to be freed by `iota_stream_free`.
extern "C" char *iota_stream(int device, void **stream) noexcept {
  return answer([&] {
    const c10::Device place(at::kCUDA, static_cast<c10::DeviceIndex>(device));
    const c10::impl::VirtualGuardImpl guard(at::kCUDA);
    *stream = new c10::Stream(guard.getStreamFromGlobalPool(place));
  });
}

extern "C" void iota_stream_free(void *stream) noexcept { delete static_cast<c10::Stream *>(stream); }

// `values` zeros in fp32 in page-locked memory of the host.
extern "C" char *iota_page_locked(int64_t values, void **tensor) noexcept {
  return answer([&] { *tensor = new at::Tensor(page_locked({values}, at::kFloat).zero_()); });
}

// A copy of a tensor of the host on the stream's device. What this thread computes from now on waits for it;
// what it was given before does not.
extern "C" char *iota_upload(const void *tensor, const void *stream, void **copy) noexcept {
  return answer([&] {
    const c10::Stream &copies = stream_of(stream);
    const at::Tensor &given = *static_cast<const at::Tensor *>(tensor);
    // libtorch keeps page-locked memory that is freed until the copy from it is done.
    const at::Tensor host = given.is_pinned() ? given : given.contiguous().pin_memory();
    at::Tensor there;
    {
      const c10::StreamGuard on(copies);
      there = at::empty(host.sizes(), at::TensorOptions(host.scalar_type()).device(copies.device()));
      there.copy_(host, true);
    }
    const c10::Stream compute = computing(copies);
    order(copies, compute);
    // Its memory belongs to the stream that copies, which must not use it again before it has been read.
    c10::impl::VirtualGuardImpl(copies.device_type()).recordDataPtrOnStream(there.storage().data_ptr(), compute);
    *copy = new at::Tensor(std::move(there));
  });
}

// Begins to copy a tensor to the host, once what computes it is done; to be given to `iota_download_wait` or
// `iota_download_free`.
extern "C" char *iota_download(const void *tensor, const void *stream, void **download) noexcept {
  return answer([&] {
    const c10::Stream &copies = stream_of(stream);
    at::Tensor source = static_cast<const at::Tensor *>(tensor)->detach().contiguous();
    at::Tensor host = page_locked(source.sizes(), source.scalar_type());
    order(computing(copies), copies);
    {
      const c10::StreamGuard on(copies);
      host.copy_(source, true);
    }
    c10::Event done(copies.device_type());
    done.record(copies);
    *download = new Download{std::move(source), std::move(host), std::move(done)};
  });
}

// Waits for a copy and gives it. The download is gone in any case.
extern "C" char *iota_download_wait(void *download, void **tensor) noexcept {
  const std::unique_ptr<Download> copy(static_cast<Download *>(download));
  return answer([&] {
    copy->done.synchronize();
    *tensor = new at::Tensor(std::move(copy->host));
  });
}

// Waits for a copy that nobody wants any more, since its memory must stay until then.
extern "C" void iota_download_free(void *download) noexcept {
  void *tensor = nullptr;
  free(iota_download_wait(download, &tensor));
  delete static_cast<at::Tensor *>(tensor);
}
