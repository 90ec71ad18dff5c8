// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/kernels/score_tile.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <type_traits>

/// Angular locality-sensitive hashing (Andoni et al. 2015, arXiv 1509.02897): the bucket of x is
/// argmax([x R; -x R]) for a random rotation R [d, b / 2]. Neighbours on the sphere tend to share it; the length of x
/// does not matter.

namespace heed {
namespace detail {

/// Columns of R that pass at a time.
inline constexpr Index hash_columns = 64;

/// What the tokens of a tile, side by side in the lanes, have found so far: the largest and the smallest of x R, and
/// where.
template <class S>
struct HashScratch {
  using Place = std::conditional_t<sizeof(S) == 4, std::int32_t, std::int64_t>;
  S *xt, *y, *high, *low;  // x, transposed [d][lanes]; x R [columns][lanes]
  Place *highest, *lowest;

  /// Calls take(type, count) -> pointer for every buffer: the only list of them.
  template <class Take>
  HashScratch(Index rows, Index d, const Take& take) {
    const Index width = std::min(packet_padded<S>(rows), tile_queries<S>);
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    xt = numbers(width * d);
    y = numbers(width * hash_columns);
    high = numbers(width);
    low = numbers(width);
    highest = take(static_cast<Place*>(nullptr), width);
    lowest = take(static_cast<Place*>(nullptr), width);
  }
};

/// Takes y [columns][width], the columns from `column` on, into the extremes so far. The first of equals stays; NaN is
/// never larger.
template <class S>
void find_extremes(Index columns, Index width, Index column, const HashScratch<S>& scratch) {
  using Place = typename HashScratch<S>::Place;
  constexpr std::size_t side{lanes<S>};
  for (Index r = 0; r < width; r += lanes<S>) {
    std::array<S, side> high, low;
    std::array<Place, side> highest, lowest;
    std::copy_n(scratch.high + r, side, high.begin());
    std::copy_n(scratch.low + r, side, low.begin());
    std::copy_n(scratch.highest + r, side, highest.begin());
    std::copy_n(scratch.lowest + r, side, lowest.begin());
    for (Index c = 0; c < columns; ++c) {
      const S* const y = scratch.y + c * width + r;
      const Place here = static_cast<Place>(column + c);
      for (std::size_t i = 0; i < side; ++i) {
        highest[i] = y[i] > high[i] ? here : highest[i];
        high[i] = y[i] > high[i] ? y[i] : high[i];
        lowest[i] = y[i] < low[i] ? here : lowest[i];
        low[i] = y[i] < low[i] ? y[i] : low[i];
      }
    }
    std::copy_n(high.begin(), side, scratch.high + r);
    std::copy_n(low.begin(), side, scratch.low + r);
    std::copy_n(highest.begin(), side, scratch.highest + r);
    std::copy_n(lowest.begin(), side, scratch.lowest + r);
  }
}

}  // namespace detail

/// bucket[t] += unit * argmax([x_t R; -x_t R]), the first of equals: 0 for a zero vector, and for one of NaN.
template <class S>
void angular_hash(ConstView<S> x, ConstView<S> rotation, std::int32_t unit, std::int32_t* bucket, Arena& arena) {
  using Place = typename detail::HashScratch<S>::Place;
  constexpr S infinity = std::numeric_limits<S>::infinity();
  const Arena::Frame frame(arena);
  const Index n = x.rows(), d = x.cols(), half = rotation.cols();
  const detail::HashScratch<S> scratch(n, d, [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  for (Index row = 0; row < n; row += detail::tile_queries<S>) {
    const Index rows = std::min(detail::tile_queries<S>, n - row), width = detail::packet_padded<S>(rows);
    detail::transpose_rows(x.data() + row * x.outerStride(), x.outerStride(), rows, d, S(1), scratch.xt, width);
    std::fill_n(scratch.high, width, -infinity);
    std::fill_n(scratch.low, width, infinity);
    std::fill_n(scratch.highest, width, Place(0));
    std::fill_n(scratch.lowest, width, Place(0));
    for (Index column = 0; column < half; column += detail::hash_columns) {
      const Index columns = std::min(detail::hash_columns, half - column);
      detail::tile_product<detail::Operand::transposed>(columns, width / detail::lanes<S>, d, rotation.data() + column,
                                                        rotation.outerStride(), scratch.xt, width, scratch.y, width,
                                                        detail::Start::zero);
      detail::find_extremes(columns, width, column, scratch);
    }
    for (Index r = 0; r < rows; ++r) {
      const bool negative = -scratch.low[r] > scratch.high[r];
      const Index found = negative ? half + static_cast<Index>(scratch.lowest[r]) : Index{scratch.highest[r]};
      bucket[row + r] += unit * static_cast<std::int32_t>(found);
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
