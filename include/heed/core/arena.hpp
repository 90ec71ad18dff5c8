// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <vector>

namespace heed {

/// Scratch memory of one worker: a stack of buffers that only grows, so that a call like an earlier one allocates
/// nothing.
///
/// What is taken is uninitialised, aligned to 64 bytes, and given back when the `Frame` it was taken in ends. Frames
/// nest like function calls. Nothing in it outlives the call: two calls may find each other's numbers there, and must
/// not care.
class Arena {
 public:
  static constexpr std::size_t alignment = 64;

  class Frame {
   public:
    explicit Frame(Arena& arena) : arena_(arena), block_(arena.block_), used_(arena.used_), live_(arena.live_) {
      if (live_ == 0 && arena.blocks_.size() > 1)
        arena.reserve(arena.bytes());  // what came in pieces is one piece next time
      block_ = arena.block_;
    }
    ~Frame() {
      arena_.block_ = block_;
      arena_.used_ = used_;
      arena_.live_ = live_;
    }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Arena& arena_;
    std::size_t block_, used_, live_;
  };

  /// `count` uninitialised numbers, until the current frame ends.
  template <class T>
  T* take(Index count) {
    static_assert(std::is_trivially_destructible_v<T>);
    const std::size_t bytes = round_up(static_cast<std::size_t>(count) * sizeof(T));
    while (block_ < blocks_.size() && used_ + bytes > capacity(block_)) {
      ++block_;
      used_ = 0;
    }
    if (block_ == blocks_.size()) blocks_.emplace_back(bytes + alignment);
    T* const at = reinterpret_cast<T*>(aligned(block_) + used_);
    used_ += bytes;
    live_ += bytes;
    peak_ = std::max(peak_, live_);
    return at;
  }

  /// An uninitialised matrix, until the current frame ends.
  template <class S>
  View<S> matrix(Index rows, Index cols) {
    return {take<S>(rows * cols), rows, cols, Eigen::OuterStride<>(cols)};
  }
  template <class S>
  VectorView<S> vector(Index size) {
    return {take<S>(size), size};
  }

  /// Makes room for `bytes` in one piece. Only outside every frame.
  void reserve(std::size_t bytes) {
    if (live_ != 0 || (blocks_.size() == 1 && capacity(0) >= bytes) || bytes == 0) return;
    blocks_.clear();
    blocks_.emplace_back(round_up(bytes) + alignment);
    block_ = used_ = 0;
  }

  /// Bytes held, and the most that was in use at one time.
  std::size_t bytes() const {
    std::size_t n = 0;
    for (std::size_t i = 0; i < blocks_.size(); ++i) n += capacity(i);
    return n;
  }
  std::size_t peak() const { return peak_; }

  /// What one `take<T>(count)` adds to the peak: policies sum these in `cost()`.
  template <class T>
  static constexpr std::size_t size_of(Index count) {
    return round_up(static_cast<std::size_t>(count) * sizeof(T));
  }

 private:
  static constexpr std::size_t round_up(std::size_t bytes) { return (bytes + alignment - 1) / alignment * alignment; }
  std::byte* aligned(std::size_t block) {
    void* p = blocks_[block].data();
    std::size_t space = blocks_[block].size();
    return static_cast<std::byte*>(std::align(alignment, 1, p, space));
  }
  std::size_t capacity(std::size_t block) const { return blocks_[block].size() - alignment; }

  std::vector<std::vector<std::byte>> blocks_;
  std::size_t block_ = 0, used_ = 0;  // where the next take starts
  std::size_t live_ = 0, peak_ = 0;
};

}  // namespace heed
