// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/random.hpp>
#include <heed/kernels/score_tile.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
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

/// One rotation [d, b / 2], and what its argmax adds to: bucket[t] += unit * argmax([x_t R; -x_t R]).
template <class S>
struct Hashing {
  ConstView<S> rotation;
  std::int32_t unit;
  std::int32_t* bucket;
};

/// All of `hashing(0)`, ..., `hashing(count - 1)`, for every row x_t.
template <class S, class F>
void angular_hash(ConstView<S> x, Index count, const F& hashing, Arena& arena) {
  constexpr S infinity = std::numeric_limits<S>::infinity();
  const Arena::Frame frame(arena);
  const Index n = x.rows(), d = x.cols();
  const HashScratch<S> scratch(n, d, [&]<class T>(T*, Index size) { return arena.take<T>(size); });
  for (Index row = 0; row < n; row += tile_queries<S>) {
    const Index rows = std::min(tile_queries<S>, n - row), width = packet_padded<S>(rows);
    transpose_rows(x.data() + row * x.outerStride(), x.outerStride(), rows, d, S(1), scratch.xt, width);
    for (Index i = 0; i < count; ++i) {
      const Hashing<S> h = hashing(i);
      const Index half = h.rotation.cols();
      std::fill_n(scratch.high, width, -infinity);
      std::fill_n(scratch.low, width, infinity);
      std::fill_n(scratch.highest, width, S(0));
      std::fill_n(scratch.lowest, width, S(0));
      for (Index column = 0; column < half; column += hash_columns) {
        const Index columns = std::min(hash_columns, half - column);
        tile_product<Operand::transposed>(columns, width / lanes<S>, d, h.rotation.data() + column,
                                          h.rotation.outerStride(), scratch.xt, width, scratch.y, width, Start::zero);
        find_extremes(columns, width, column, scratch);
      }
      for (Index r = 0; r < rows; ++r) {
        const bool negative = -scratch.low[r] > scratch.high[r];
        const Index place = static_cast<Index>(negative ? scratch.lowest[r] : scratch.highest[r]);
        h.bucket[row + r] += h.unit * static_cast<std::int32_t>(negative ? half + place : place);
      }
    }
  }
}

}  // namespace detail

/// Several rounds of hashing, each with rotations of its own. Up to 128 buckets are the argmax of one rotation; more are
/// pairs from two smaller ones, as a rotation of n / chunk columns would make hashing quadratic in n.
template <class S>
class AngularHash {
 public:
  static constexpr Index most = Index{1} << 24;  ///< buckets

  /// For vectors [n, d]. `buckets` is even and at most `most`; 0 for about n / share, up to 16384.
  AngularHash(Index d, Index rounds, Index buckets, Index share, std::uint64_t seed)
      : d_(d), rounds_(rounds), buckets_(buckets), share_(share) {
    const Digits widest = buckets == 0 ? Digits{one_digit, one_digit} : digits(0);
    second_ = widest.first / 2;
    rotations_.resize(rounds * d, second_ + widest.second / 2);
    for (Index r = 0; r < rounds; ++r) {
      Random random = Random(seed).stream(static_cast<std::uint64_t>(r));
      rotations_.middleRows(r * d, d) = random_normal<S>(random, d, rotations_.cols(), 1);
    }
  }

  /// The buckets of a round over n vectors, and no less than those over any fewer.
  Index buckets(Index n) const { return digits(n).first * digits(n).second; }
  Index buckets_up_to(Index n) const { return buckets_ > 0 ? buckets_ : 2 * (n / share_) + 2; }
  double multiply_adds(Index n) const {
    return static_cast<double>(rounds_ * n * (digits(n).first / 2 + digits(n).second / 2)) * static_cast<double>(d_);
  }
  /// Bytes of Arena for up to n vectors.
  std::size_t scratch(Index n) const {
    std::size_t bytes = 0;
    detail::HashScratch<S>(n, d_, [&]<class T>(T* none, Index count) {
      bytes += Arena::size_of<T>(count);
      return none;
    });
    return bytes;
  }

  /// Assigns bucket [rounds, n]. The first of equals counts: 0 for a zero vector, and for one of NaN.
  void operator()(ConstView<S> x, std::int32_t* bucket, Arena& arena) const {
    const Index n = x.rows();
    const Digits b = digits(n);
    std::fill_n(bucket, rounds_ * n, 0);
    const Index count = b.second > 1 ? 2 : 1;
    detail::angular_hash(
        x, rounds_ * count,
        [&](Index i) {
          const Index row = i / count * d_;
          std::int32_t* const of_round = bucket + i / count * n;
          if (i % count == 0) return detail::Hashing<S>{block(rotations_, row, 0, d_, b.first / 2), 1, of_round};
          return detail::Hashing<S>{block(rotations_, row, second_, d_, b.second / 2),
                                    static_cast<std::int32_t>(b.first), of_round};
        },
        arena);
  }

 private:
  struct Digits {
    Index first = 2, second = 1;
  };
  static constexpr Index one_digit = 128;  // buckets that one digit tells apart

  Digits digits(Index n) const {
    if (buckets_ > 0) {
      if (buckets_ <= one_digit || buckets_ % 4 != 0) return {buckets_, 1};
      Index second = 2;  // the largest even divisor up to the root whose partner is even
      for (Index x = 2; x * x <= buckets_; x += 2)
        if (buckets_ % (2 * x) == 0) second = x;
      return {buckets_ / second, second};
    }
    const auto even = [](Index x) { return std::clamp<Index>(x + x % 2, 2, one_digit); };
    const Index b = n / share_;
    if (b <= one_digit) return {even(b), 1};
    const Index first = even(static_cast<Index>(std::sqrt(static_cast<double>(b))));
    return {first, even(b / first)};
  }

  Index d_, rounds_, buckets_, share_;
  Index second_ = 0;     // where the columns of the second digit begin
  Matrix<S> rotations_;  // [rounds d, columns]
};

}  // namespace heed
