// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/kernels/score_tile.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>

/// Angular locality-sensitive hashing (Andoni et al. 2015, arXiv 1509.02897): the bucket of x is
/// argmax([x R; -x R]) for a random rotation R [d, b / 2]. Neighbours on the sphere tend to share it; the length of x
/// does not matter.

namespace heed {
namespace detail {

/// Columns of R that pass at a time.
inline constexpr Index hash_columns = 64;

/// What the tokens of a tile, side by side in the lanes, have found so far: the largest and the smallest number of x R,
/// and in which columns.
template <class S>
struct HashScratch {
  S *xt, *y;  // x, transposed [d][lanes]; x R [columns][lanes]
  S *high, *low, *highest, *lowest;

  /// Calls take(type, count) -> pointer for every buffer: the only list of them.
  template <class Take>
  HashScratch(Index rows, Index d, const Take& take) {
    const Index width = std::min(packet_padded<S>(rows), tile_queries<S>);
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    xt = numbers(width * d);
    y = numbers(width * hash_columns);
    high = numbers(width);
    low = numbers(width);
    highest = numbers(width);
    lowest = numbers(width);
  }
};

/// Takes y [columns][width], the columns from `column` on, into the extremes so far. The first of equals stays; NaN is
/// never one.
template <class S>
void find_extremes(Index columns, Index width, Index column, const HashScratch<S>& scratch) {
  for (Index r = 0; r < width; r += lanes<S>) {
    Packet<S> high = load(scratch.high + r), highest = load(scratch.highest + r);
    Packet<S> low = load(scratch.low + r), lowest = load(scratch.lowest + r);
    for (Index c = 0; c < columns; ++c) {
      const Packet<S> y = load(scratch.y + c * width + r), here = broadcast(static_cast<S>(column + c));
      highest = select_less<S>(high, y, here, highest);
      high = select_less<S>(high, y, y, high);
      lowest = select_less<S>(y, low, here, lowest);
      low = select_less<S>(y, low, y, low);
    }
    store<S>(scratch.high + r, high);
    store<S>(scratch.highest + r, highest);
    store<S>(scratch.low + r, low);
    store<S>(scratch.lowest + r, lowest);
  }
}

}  // namespace detail

/// One rotation [d, b / 2], and what its argmax adds to: bucket[t] += unit * argmax([x_t R; -x_t R]).
template <class S>
struct Hashing {
  ConstView<S> rotation;
  std::int32_t unit;
  std::int32_t* bucket;
};

/// All of `hashing(0)`, ..., `hashing(count - 1)`, for every row x_t. The first of equals counts: 0 for a zero vector, and
/// for one of NaN.
template <class S, class F>
void angular_hash(ConstView<S> x, Index count, const F& hashing, Arena& arena) {
  constexpr S infinity = std::numeric_limits<S>::infinity();
  const Arena::Frame frame(arena);
  const Index n = x.rows(), d = x.cols();
  const detail::HashScratch<S> scratch(n, d, [&]<class T>(T*, Index size) { return arena.take<T>(size); });
  for (Index row = 0; row < n; row += detail::tile_queries<S>) {
    const Index rows = std::min(detail::tile_queries<S>, n - row), width = detail::packet_padded<S>(rows);
    detail::transpose_rows(x.data() + row * x.outerStride(), x.outerStride(), rows, d, S(1), scratch.xt, width);
    for (Index i = 0; i < count; ++i) {
      const Hashing<S> h = hashing(i);
      const Index half = h.rotation.cols();
      std::fill_n(scratch.high, width, -infinity);
      std::fill_n(scratch.low, width, infinity);
      std::fill_n(scratch.highest, width, S(0));
      std::fill_n(scratch.lowest, width, S(0));
      for (Index column = 0; column < half; column += detail::hash_columns) {
        const Index columns = std::min(detail::hash_columns, half - column);
        detail::tile_product<detail::Operand::transposed>(columns, width / detail::lanes<S>, d,
                                                          h.rotation.data() + column, h.rotation.outerStride(),
                                                          scratch.xt, width, scratch.y, width, detail::Start::zero);
        detail::find_extremes(columns, width, column, scratch);
      }
      for (Index r = 0; r < rows; ++r) {
        const bool negative = -scratch.low[r] > scratch.high[r];
        const Index found =
            static_cast<Index>(negative ? scratch.lowest[r] : scratch.highest[r]) + (negative ? half : 0);
        h.bucket[row + r] += h.unit * static_cast<std::int32_t>(found);
      }
    }
  }
}

/// Bytes of scratch that angular_hash takes for up to n vectors.
template <class S>
std::size_t angular_hash_scratch(Index n, Index d) {
  std::size_t bytes = 0;
  detail::HashScratch<S>(n, d, [&]<class T>(T* none, Index count) {
    bytes += Arena::size_of<T>(count);
    return none;
  });
  return bytes;
}

}  // namespace heed
