// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/simd.hpp>

#include <algorithm>
#include <cstddef>
#include <type_traits>

/// The inner product of everything: C[rows][packets] += sum_k A(row, k) B[k][packets], with C in registers.
///
/// A is broadcast element by element, B and C are read and written by packets as they lie: nothing is packed. A is
/// either read along its rows (`A B`) or along its columns (`A^T B`). Every element of C is one chain of multiply-adds
/// in the order of k, whatever the shape of the tile that computes it: equal operands give equal bits.

namespace heed::detail {

/// How A(row, k) lies: `plain` at a[row * lda + k] (the product A B), `transposed` at a[k * lda + row] (A^T B).
enum class Operand { plain, transposed };

/// What C starts from: zeros (C is not read), or itself - with row r scaled by `alpha[r]` if there is an alpha.
enum class Start { zero, add };

/// One tile of R rows and N packets in registers.
template <Operand A, int R, int N, class S>
void register_tile(Index depth, const S* a, Index lda, const S* b, Index ldb, S* c, Index ldc, Start start,
                   const S* alpha) {
  using P = Packet<S>;
  constexpr Index width = lanes<S>;
  P acc[std::size_t{R}][std::size_t{N}];
  if (start == Start::zero) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) acc[r][v] = broadcast(S(0));
  } else if (alpha == nullptr) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) acc[r][v] = load(c + r * ldc + v * width);
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) acc[r][v] = pmul(broadcast(alpha[r]), load(c + r * ldc + v * width));
  }
  for (Index k = 0; k < depth; ++k) {
    P row[std::size_t{N}];
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) row[v] = load(b + v * width);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const P x = broadcast(A == Operand::plain ? a[r * lda] : a[r]);
#pragma GCC unroll 4
      for (int v = 0; v < N; ++v) acc[r][v] = pmadd(x, row[v], acc[r][v]);
    }
    a += A == Operand::plain ? 1 : lda;
    b += ldb;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) store(c + r * ldc + v * width, acc[r][v]);
}

/// Rows of the tallest tile N packets wide: accumulators fill three quarters of the registers.
template <int N>
inline constexpr int tile_rows = std::min(8, vector_registers * 3 / 4 / N);

/// Packets of the next column of tiles when n are left: 4 at a time (2 where registers are few), no thin last one.
constexpr int tile_packets(Index n) {
  constexpr int widest = vector_registers >= 32 ? 4 : 3;
  if (n <= widest) return static_cast<int>(n);
  if constexpr (widest == 3) return 2;
  return n == 5 || n == 6 || n == 9 ? 3 : 4;
}

template <Operand A, int N, class S>
void tile_column(Index m, Index depth, const S* a, Index lda, const S* b, Index ldb, S* c, Index ldc, Start start,
                 const S* alpha) {
  constexpr Index tall = tile_rows<N>;
  const auto run = [&](auto rows, Index from) {
    const Index at = A == Operand::plain ? from * lda : from;
    register_tile<A, decltype(rows)::value, N>(depth, a + at, lda, b, ldb, c + from * ldc, ldc, start,
                                               alpha == nullptr ? alpha : alpha + from);
  };
  Index r = 0;
  for (; m - r >= tall; r += tall) run(std::integral_constant<int, tall>{}, r);
  if constexpr (tall > 4)
    if (m - r >= 4) run(std::integral_constant<int, 4>{}, r), r += 4;
  if constexpr (tall > 2)
    if (m - r >= 2) run(std::integral_constant<int, 2>{}, r), r += 2;
  if (m - r >= 1) run(std::integral_constant<int, 1>{}, r);
}

/// C [m, packets * lanes] (+)= A B or A^T B over `depth`; `alpha [m]` or null. B and C must be readable, C writable, in
/// whole packets: `packets * lanes` columns. The depth is cut so that a column of tiles finds its part of B in the
/// first cache again; C then carries the sums from cut to cut, which changes no bit.
template <Operand A, class S>
void tile_product(Index m, Index packets, Index depth, const S* a, Index lda, const S* b, Index ldb, S* c, Index ldc,
                  Start start, const S* alpha = nullptr) {
  constexpr Index cut = 128;
  Index k = 0;
  do {
    const Index part = std::min(cut, depth - k);
    const S* const from = a + (A == Operand::plain ? k : k * lda);
    for (Index v = 0; v < packets;) {
      const S* const at = b + k * ldb + v * lanes<S>;
      S* const to = c + v * lanes<S>;
      const int n = tile_packets(packets - v);
      switch (n) {
        case 1:
          tile_column<A, 1>(m, part, from, lda, at, ldb, to, ldc, start, alpha);
          break;
        case 2:
          tile_column<A, 2>(m, part, from, lda, at, ldb, to, ldc, start, alpha);
          break;
        case 3:
          tile_column<A, 3>(m, part, from, lda, at, ldb, to, ldc, start, alpha);
          break;
        default:
          if constexpr (vector_registers >= 32) tile_column<A, 4>(m, part, from, lda, at, ldb, to, ldc, start, alpha);
      }
      v += n;
    }
    k += part;
    start = Start::add;
    alpha = nullptr;
  } while (k < depth);
}

}  // namespace heed::detail
