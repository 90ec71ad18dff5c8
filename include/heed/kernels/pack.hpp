// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/simd.hpp>

#include <algorithm>

/// Copies of operands into dense scratch. What a tile reads many times should neither lie a page apart from row to row
/// nor straddle cache lines, and a transposed operand has to be turned before its columns can be read as packets.

namespace heed::detail {

/// to = f(from), packet by packet, for one row; returns the first column that is in no packet. Four at a time: each load
/// and store of them then goes down a strided matrix in equal steps, which machines see coming.
template <class S, class F>
EIGEN_ALWAYS_INLINE Index map_packets(Index cols, const S* from, S* to, const F& f) {
  constexpr Index width = lanes<S>;
  Index j = 0;
  for (; j + 4 * width <= cols; j += 4 * width) {
    const Packet<S> a = f(load(from + j)), b = f(load(from + j + width)), c = f(load(from + j + 2 * width)),
                    d = f(load(from + j + 3 * width));
    store<S>(to + j, a);
    store<S>(to + j + width, b);
    store<S>(to + j + 2 * width, c);
    store<S>(to + j + 3 * width, d);
  }
  for (; j + width <= cols; j += width) store<S>(to + j, f(load(from + j)));
  return j;
}

/// to [rows, cols] = from, and zeros in the columns from there to `ld_to`.
template <class S>
void pack(Index rows, Index cols, const S* from, Index ld_from, S* to, Index ld_to) {
  for (Index r = 0; r < rows; ++r, from += ld_from, to += ld_to) {
    Index j = map_packets(cols, from, to, [](const Packet<S>& x) { return x; });
    for (; j < cols; ++j) to[j] = from[j];
    for (; j < ld_to; ++j) to[j] = S(0);
  }
}

/// The square of `lanes` rows and columns at `from`, transposed: packet i holds column i. Of the rows only the first
/// `rows` are read; lanes beyond repeat the last of them.
template <class S>
EIGEN_ALWAYS_INLINE PacketSquare<S> load_transposed(const S* from, Index ld, Index rows) {
  PacketSquare<S> square;
#pragma GCC unroll 16
  for (Index r = 0; r < lanes<S>; ++r) square.packet[r] = load(from + std::min(r, rows - 1) * ld);
  transpose<S>(square);
  return square;
}

/// to [cols, rows] = from [rows, cols] transposed. The columns up to `ld_to`, the next whole number of packets, are
/// written too: with copies of the last one.
template <class S>
void pack_transposed(Index rows, Index cols, const S* from, Index ld_from, S* to, Index ld_to) {
  constexpr Index width = lanes<S>;
  for (Index r0 = 0; r0 < rows; r0 += width, from += width * ld_from, to += width) {
    Index j = 0;
    for (; j + width <= cols; j += width) {
      const PacketSquare<S> square = load_transposed(from + j, ld_from, rows - r0);
#pragma GCC unroll 16
      for (Index i = 0; i < width; ++i) store(to + (j + i) * ld_to, square.packet[i]);
    }
    for (; j < cols; ++j)
      for (Index r = 0; r < width; ++r) to[j * ld_to + r] = from[std::min(r, rows - r0 - 1) * ld_from + j];
  }
}

}  // namespace heed::detail
