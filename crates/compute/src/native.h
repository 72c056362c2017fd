// How a function that Rust calls says that it failed: exceptions do not leave it.

#pragma once

#include <cstring>
#include <exception>

// Runs `body`. The answer is nothing, or what went wrong, to be freed by the caller.
template <class Body>
char *answer(Body &&body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("an exception of an unknown kind");
  }
}
