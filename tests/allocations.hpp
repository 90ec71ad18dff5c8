// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

/// Counts what the program takes from the heap: `operator new`, and the `malloc` and `realloc` that Eigen calls, which
/// the linker wraps. One translation unit per test program includes this.

namespace allocations {
inline std::atomic<long> calls{0};
inline std::atomic<std::size_t> bytes{0};
inline void count(std::size_t size) {
  ++calls;
  bytes += size;
}
}  // namespace allocations

extern "C" {
void* __real_malloc(std::size_t size);
void* __real_realloc(void* at, std::size_t size);
inline __attribute__((used)) void* __wrap_malloc(std::size_t size) {
  allocations::count(size);
  return __real_malloc(size);
}
inline __attribute__((used)) void* __wrap_realloc(void* at, std::size_t size) {
  allocations::count(size);
  return __real_realloc(at, size);
}
}

// Not inlined, or the compiler sees a free of what a new expression made.
__attribute__((noinline)) void* operator new(std::size_t size) {
  allocations::count(size);
  if (void* at = __real_malloc(size > 0 ? size : 1)) return at;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* at) noexcept { std::free(at); }
__attribute__((noinline)) void operator delete(void* at, std::size_t) noexcept { std::free(at); }
