// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/arena.hpp>
#include <heed/core/parallel.hpp>
#include <heed/core/range.hpp>
#include <heed/core/types.hpp>
#include <heed/kernels/pack.hpp>
#include <heed/kernels/register_tile.hpp>
#include <heed/kernels/thin_product.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

/// The general matrix product.
///
/// Every element of C is one chain of multiply-adds over k = 0, 1, ..., which starts from 0 or from C. Its bits depend
/// on its row of A, its column of B and its start, and on nothing else: not on the sizes, the strides, the cut, the
/// threads. So how a product is cut and what is packed are questions of speed alone.
///
/// C must not overlap A or B. Matrices may be empty, strided and unaligned; nothing outside them is read or written.

namespace heed {

/// C [m, n] = A [m, k] B [k, n], or A^T B with A [k, m], or A B^T with B [n, k].
enum class Form { ab, atb, abt };
/// C = ... or C += ...
enum class Into { assign, add };

namespace detail {

/// The cut: a block of A [block_rows, block_depth] meets one column of tiles after another and should stay in the
/// second cache, together with the block of C that it adds to; the part of B under a column of tiles should stay in the
/// first.
inline constexpr Index block_rows = 384, block_depth = 128, block_of_c = 512 * block_rows;
/// No column of tiles is wider.
template <class S>
inline constexpr Index tile_columns = 4 * lanes<S>;
/// A multiple of the rows of the tall tiles.
inline constexpr Index row_step = 24;

/// The height of equal pieces of `rows`, none higher than `most`, all but the last a multiple of `row_step`.
constexpr Index piece_of(Index rows, Index most) {
  if (rows <= most) return rows;
  const Index pieces = (rows + most - 1) / most;
  return ((rows + pieces - 1) / pieces + row_step - 1) / row_step * row_step;
}

/// The row stride of a packed block of A^T: an odd number of packets, so that the rows spread over all cache sets.
template <class S>
constexpr Index packed_stride(Index cols) {
  return ((cols + lanes<S> - 1) / lanes<S> | 1) * lanes<S>;
}

/// Is every row on a page of its own? Then a walk down the rows misses the translation cache, and if the stride is a
/// power of two, all rows share a few cache sets.
template <class S>
constexpr bool wide_stride(Index ld) {
  return ld * Index{sizeof(S)} >= 4096;
}

/// Does a packet of a row straddle cache lines?
template <class S>
bool straddles(const S* at, Index ld) {
  constexpr std::uintptr_t bytes = sizeof(S) * std::size_t{lanes<S>};
  return reinterpret_cast<std::uintptr_t>(at) % bytes != 0 || ld % lanes<S> != 0;
}

/// C (+)= A B, where B may be given as its transpose.
template <Operand A, class S>
void blocked_product(bool b_transposed, Index m, Index k, Index n, const S* a, Index lda, const S* b, Index ldb, S* c,
                     Index ldc, bool add, Arena& scratch) {
  constexpr Index width = lanes<S>;
  const Index block_m = piece_of(m, block_rows);
  const Index block_n = block_of_c / block_m / tile_columns<S> * tile_columns<S>;
  // Few rows of A: B is used a few times only, so do not pack it, and read a few rows of it at a time, as long streams.
  const Index block_k = std::min({k, block_depth, b_transposed ? k : 8 * m});
  const bool pack_a = A == Operand::transposed && wide_stride<S>(lda) && n > 4 * tile_columns<S>;
  const bool pack_b = block_m >= 8 * row_step && (straddles(b, ldb) || wide_stride<S>(ldb));
  const bool ragged_n = n % width != 0;

  const Arena::Frame frame(scratch);
  const Index columns = std::min(packet_padded<S>(n), tile_columns<S>), a_stride = packed_stride<S>(block_m);
  S* const a_block = pack_a ? scratch.take<S>(block_k * a_stride) : nullptr;
  S* const b_block = b_transposed || pack_b || ragged_n ? scratch.take<S>(block_k * columns) : nullptr;
  S* const c_block = ragged_n ? scratch.take<S>(block_m * columns) : nullptr;

  // One column of tiles: rows [i, i + rows) and columns [j, j + cols) of C, over k in [l, l + depth). What is not a
  // whole number of packets goes through scratch.
  const auto column = [&](Index i, Index rows, Index l, Index depth, Index j, Index cols) {
    const Index packets = (cols + width - 1) / width, padded = packets * width;
    const Start start = l == 0 && !add ? Start::zero : Start::add;
    const bool ragged = cols < padded, packed = b_transposed || pack_b || ragged;
    const S* const a_at = pack_a ? a_block : A == Operand::plain ? a + i * lda + l : a + l * lda + i;
    S* const c_at = c + i * ldc + j;
    if (b_transposed)
      pack_transposed(cols, depth, b + j * ldb + l, ldb, b_block, padded);
    else if (packed)
      pack(depth, cols, b + l * ldb + j, ldb, b_block, padded);
    if (ragged && start == Start::add) pack(rows, cols, c_at, ldc, c_block, padded);
    tile_product<A>(rows, packets, depth, a_at, pack_a ? a_stride : lda, packed ? b_block : b + l * ldb + j,
                    packed ? padded : ldb, ragged ? c_block : c_at, ragged ? padded : ldc, start);
    if (ragged)
      for (Index r = 0; r < rows; ++r) std::copy_n(c_block + r * padded, cols, c_at + r * ldc);
  };

  for (Index i = 0; i < m; i += block_m)
    for (Index j0 = 0; j0 < n; j0 += block_n)
      for (Index l = 0; l < k; l += block_k) {
        const Index rows = std::min(block_m, m - i), depth = std::min(block_k, k - l);
        if (pack_a) pack(depth, rows, a + l * lda + i, lda, a_block, a_stride);
        const Index end = std::min(n, j0 + block_n);
        for (Index j = j0, cols; j < end; j += cols) {
          cols = std::min<Index>(tile_packets((end - j + width - 1) / width) * width, end - j);
          column(i, rows, l, depth, j, cols);
        }
      }
}

/// The cut of a parallel product: `down` by `across` blocks of C.
struct Grid {
  Index down = 1, across = 1;
};

/// Some 16 blocks, or as many as it takes until one fits the second cache; nearly square, so that little of A and B is
/// read twice. Each is worth the start of a task and, in A B^T, the transposition of its part of B.
constexpr Grid grid_of(Form form, Index m, Index k, Index n) {
  constexpr Index least_work = Index{1} << 20, least_cols = 128;
  const Index least_rows = (form == Form::abt ? 4 : 2) * row_step;
  Grid grid;
  while (true) {
    const Index rows = m / grid.down, cols = n / grid.across;
    const bool tall = rows >= 2 * least_rows, wide = cols >= 2 * least_cols;
    const bool enough = grid.down * grid.across >= 16 && rows * cols <= block_of_c;
    if (enough || (!tall && !wide) || rows * cols < 2 * (least_work / std::max<Index>(1, k))) return grid;
    (tall && (rows >= cols || !wide) ? grid.down : grid.across) *= 2;
  }
}

/// Piece i of `pieces` of [0, size): equal ones, but for a step.
constexpr Range nth_piece(Index i, Index pieces, Index size, Index step) {
  const Index steps = (size + step - 1) / step;
  const auto begin = [&](Index at) { return std::min(size, steps * at / pieces * step); };
  return {begin(i), begin(i + 1)};
}

}  // namespace detail

template <Form form, class S>
void product(Into into, ConstView<S> a, ConstView<S> b, View<S> c, Arena& scratch) {
  const Index m = c.rows(), n = c.cols(), k = form == Form::atb ? a.rows() : a.cols();
  const bool add = into == Into::add;
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (Index i = 0; i < m && !add; ++i) std::fill_n(c.data() + i * c.outerStride(), n, S(0));
    return;
  }
  if constexpr (form == Form::abt)
    if (m <= detail::thin_rows)
      return detail::thin_product(m, k, n, a.data(), a.outerStride(), b.data(), b.outerStride(), c.data(),
                                  c.outerStride(), add);
  constexpr detail::Operand operand = form == Form::atb ? detail::Operand::transposed : detail::Operand::plain;
  detail::blocked_product<operand>(form == Form::abt, m, k, n, a.data(), a.outerStride(), b.data(), b.outerStride(),
                                   c.data(), c.outerStride(), add, scratch);
}

/// The same, cut into blocks of C, one task each. The cut follows from the shape.
template <Form form, class S>
void parallel_product(Into into, ConstView<S> a, ConstView<S> b, View<S> c, Workers& workers) {
  const Index m = c.rows(), n = c.cols(), k = form == Form::atb ? a.rows() : a.cols();
  const detail::Grid grid = detail::grid_of(form, m, k, n);
  workers.run(grid.down * grid.across, [&](Index task, Arena& scratch) {
    const Range rows = detail::nth_piece(task / grid.across, grid.down, m, detail::row_step);
    const Range cols = detail::nth_piece(task % grid.across, grid.across, n, detail::tile_columns<S>);
    const ConstView<S> left =
        form == Form::atb ? block(a, 0, rows.begin, k, rows.size()) : block(a, rows.begin, 0, rows.size(), k);
    const ConstView<S> right =
        form == Form::abt ? block(b, cols.begin, 0, cols.size(), k) : block(b, 0, cols.begin, k, cols.size());
    product<form, S>(into, left, right, block(c, rows.begin, cols.begin, rows.size(), cols.size()), scratch);
  });
}

/// An upper bound of the scratch bytes that one worker takes for a product of this shape, cut or not.
template <class S>
std::size_t product_scratch(Form form, Index m, Index k, Index n) {
  const Index rows = std::min(m, detail::block_rows), depth = std::min(k, detail::block_depth);
  const Index columns = std::min(detail::packet_padded<S>(n), detail::tile_columns<S>);
  const Index a = form == Form::atb ? depth * detail::packed_stride<S>(rows) : 0;
  return Arena::size_of<S>(a) + Arena::size_of<S>(depth * columns) + Arena::size_of<S>(rows * columns);
}

}  // namespace heed
