// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/pack.hpp>

#include <algorithm>
#include <array>
#include <cstddef>

/// A B^T for a few rows of A: decoding through weights [out, in]. B is read once and used only a few times, so it is
/// transposed in registers on its way into the sums. Packing it first would alternate between waiting for memory and
/// computing; here the loads of the next square overlap the multiply-adds of this one.

namespace heed::detail {

/// The most rows in one pass: sums and the transposed square share the registers.
inline constexpr Index thin_rows = std::min(8, vector_registers / 4);

/// C [R, lanes] (+)= A [R, k] B^T for `cols <= lanes` rows of B.
template <int R, class S>
void thin_tile(Index k, const S* a, Index lda, const S* b, Index ldb, Index cols, S* c, Index ldc, bool add) {
  using P = Packet<S>;
  constexpr Index width = lanes<S>;
  std::array<S, std::size_t{lanes<S>}> edge{};  // what lies in, or goes to, fewer than a packet of numbers
  P acc[std::size_t{R}];
  for (int r = 0; r < R; ++r) {
    if (add) std::copy_n(c + r * ldc, cols, edge.data());
    acc[r] = load(edge.data());
  }
  const auto step = [&](Index at, const P& column) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r] = pmadd(broadcast(a[r * lda + at]), column, acc[r]);
  };
  Index j = 0;
  for (; j + width <= k; j += width) {
    const PacketSquare<S> square = load_transposed(b + j, ldb, cols);
#pragma GCC unroll 16
    for (Index i = 0; i < width; ++i) step(j + i, square.packet[i]);
  }
  for (; j < k; ++j) {
    for (Index i = 0; i < cols; ++i) edge[static_cast<std::size_t>(i)] = b[i * ldb + j];
    step(j, load(edge.data()));
  }
  for (int r = 0; r < R; ++r) {
    store(edge.data(), acc[r]);
    std::copy_n(edge.data(), cols, c + r * ldc);
  }
}

/// C [m, n] (+)= A B^T, passing over each packet of rows of B as few times as the registers allow.
template <class S>
void thin_product(Index m, Index k, Index n, const S* a, Index lda, const S* b, Index ldb, S* c, Index ldc, bool add) {
  for (Index j = 0; j < n; j += lanes<S>) {
    const Index cols = std::min<Index>(lanes<S>, n - j);
    const auto run = [&](auto tile, Index r) {
      tile(k, a + r * lda, lda, b + j * ldb, ldb, cols, c + r * ldc + j, ldc, add);
    };
    Index r = 0;
    if constexpr (thin_rows >= 8)
      for (; m - r >= 8; r += 8) run(thin_tile<8, S>, r);
    for (; m - r >= 4; r += 4) run(thin_tile<4, S>, r);
    for (; m - r >= 2; r += 2) run(thin_tile<2, S>, r);
    for (; m - r >= 1; r += 1) run(thin_tile<1, S>, r);
  }
}

}  // namespace heed::detail
