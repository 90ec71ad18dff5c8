// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/simd.hpp>
#include <heed/kernels/dot_product.hpp>
#include <heed/kernels/pack.hpp>
#include <heed/kernels/register_tile.hpp>

#include <algorithm>
#include <cmath>

/// What the forward and the backward softmax do with a tile of transposed scores, [keys][width]: queries stand side by
/// side in SIMD lanes, so that maxima and sums run down the tile and never across lanes. `width` is 1 to 3 packets;
/// lanes past the last query are padding, hold whatever comes of a zero query, and reach no result.

namespace heed::detail {

/// Queries of a full tile.
template <class S>
inline constexpr Index tile_queries = 3 * lanes<S>;
/// Keys of a score tile: it stays in the first cache beside the queries.
inline constexpr Index tile_keys = 64;
/// Keys that all tiles of a superblock pass before the next: with their values they stay in the second cache.
inline constexpr Index block_keys = 256;
/// Rows of a superblock: the queries that share one pass over the keys.
inline constexpr Index superblock_rows = 384;
static_assert(superblock_rows % tile_queries<float> == 0 && superblock_rows % tile_queries<double> == 0);

/// The tiles of a superblock: how many, and all keys that one of them may see.
struct OpenTiles {
  Index count = 0;
  Ranges keys{};
};

/// How many tiles a superblock of `rows` may have at most, and how many lanes, if patterns name `block` as the natural
/// block of queries. A block that does not fill a packet is of no use to tiles.
template <class S>
struct TileCount {
  TileCount(Index rows, Index block) {
    const Index pieces = block < heed::detail::lanes<S> || rows == 0 ? 1 : rows / block + 2;  // between borders
    tiles = rows / tile_queries<S> + pieces;
    lanes = std::min(packet_padded<S>(rows) + (pieces - 1) * heed::detail::lanes<S>, rows * heed::detail::lanes<S>);
  }
  Index tiles, lanes;
};

/// Rows of the tile that begins with `row`, when `left` rows are left in its superblock. Between two borders of the
/// natural block, tiles are of much the same size.
template <class S>
Index rows_of_tile(const Tile& tile, Index block, Index left) {
  if (block < lanes<S>) return std::min(tile_queries<S>, left);
  const Index into = (tile.position(0) % block + block) % block;
  const Index to_border = std::min(left, (block - into) * tile.group - tile.row % tile.group);
  const Index pieces = (to_border + tile_queries<S> - 1) / tile_queries<S>;
  return std::min(to_border, packet_padded<S>((to_border + pieces - 1) / pieces));
}

/// to [d][width] = scale * from [rows][d], transposed; lanes past `rows` become 0.
template <class S>
void transpose_rows(const S* from, Index stride, Index rows, Index d, S scale, S* to, Index width) {
  constexpr Index side = lanes<S>;
  const Packet<S> factor = broadcast(scale);
  for (Index r = 0; r < width; r += side) {
    Index k = 0;
    for (; k + side <= d; k += side) {
      PacketSquare<S> square;
      if (r + side <= rows) {
#pragma GCC unroll 16
        for (Index i = 0; i < side; ++i) square.packet[i] = load(from + (r + i) * stride + k);
      } else {
        for (Index i = 0; i < side; ++i)
          square.packet[i] = r + i < rows ? load(from + (r + i) * stride + k) : broadcast(S(0));
      }
      transpose<S>(square);
#pragma GCC unroll 16
      for (Index i = 0; i < side; ++i) store<S>(to + (k + i) * width + r, pmul(factor, square.packet[i]));
    }
    for (; k < d; ++k)
      for (Index i = 0; i < side; ++i) to[k * width + r + i] = r + i < rows ? scale * from[(r + i) * stride + k] : S(0);
  }
}

/// Writes `hidden` to every score whose query may not see its key. The lanes of a packet are an inner loop of fixed
/// length, which compilers turn into vector code where the membership is simple; where it is not, a pattern may bring a
/// `mask` of its own, which has to agree with its `sees` in every lane that is no padding.
template <class S, KeyPattern Pattern>
void mask_tile(const Pattern& pattern, const Index* positions, Range keys, Index width, S hidden, S* s) {
  if constexpr (requires { pattern.mask(positions, keys, width, hidden, s); })
    return pattern.mask(positions, keys, width, hidden, s);
  for (Index j = keys.begin; j < keys.end; ++j, s += width)
    for (Index r = 0; r < width; r += lanes<S>)
#pragma GCC unroll 1
      for (Index i = r; i < r + lanes<S>; ++i) s[i] = pattern.sees(positions[i], j) ? s[i] : hidden;
}

/// No infinity and no NaN in b [rows][packets].
template <class S>
bool all_finite(const S* b, Index stride, Index rows, Index packets) {
  constexpr Index chains = 4;
  Packet<S> zero[chains];  // x * 0 is 0 for finite x, else NaN
  for (Packet<S>& z : zero) z = broadcast(S(0));
  for (Index r = 0; r < rows; ++r) {
    Index v = 0;
    for (; v + chains <= packets; v += chains)
#pragma GCC unroll 4
      for (Index i = 0; i < chains; ++i)
        zero[i] = pmadd(load(b + r * stride + (v + i) * lanes<S>), broadcast(S(0)), zero[i]);
    for (; v < packets; ++v) zero[0] = pmadd(load(b + r * stride + v * lanes<S>), broadcast(S(0)), zero[0]);
  }
  return sum_of_lanes<S>(padd(padd(zero[0], zero[1]), padd(zero[2], zero[3]))) == S(0);
}

/// C += A B or A^T B (see tile_product) where A(r, k) is exactly 0 unless sees(r, k): what is not finite in row k of B
/// reaches only the rows of C that see k. All others get the bits they would get from a finite B: the product runs on a
/// copy with zeros for the culprits, which are then added one by one. `copy` has room for depth * packets.
template <Operand A, class S, class Sees>
void product_where_seen(Index m, Index packets, Index depth, const S* a, Index lda, const S* b, Index ldb, S* c,
                        Index ldc, Start start, const S* alpha, S* copy, const Sees& sees) {
  if (all_finite(b, ldb, depth, packets)) {
    tile_product<A>(m, packets, depth, a, lda, b, ldb, c, ldc, start, alpha);
    return;
  }
  const Index cols = packets * lanes<S>;
  for (Index k = 0; k < depth; ++k)
    for (Index e = 0; e < cols; ++e) copy[k * cols + e] = std::isfinite(b[k * ldb + e]) ? b[k * ldb + e] : S(0);
  tile_product<A>(m, packets, depth, a, lda, copy, cols, c, ldc, start, alpha);
  for (Index k = 0; k < depth; ++k)
    for (Index e = 0; e < cols; ++e)
      if (const S x = b[k * ldb + e]; !std::isfinite(x))
        for (Index r = 0; r < m; ++r)
          if (sees(r, k)) c[r * ldc + e] += (A == Operand::plain ? a[r * lda + k] : a[k * lda + r]) * x;
}

/// to [rows][cols] += scale * from [rows][padded].
template <class S>
void add_rows(const S* from, Index padded, S scale, Index rows, Index cols, S* to, Index stride) {
  for (Index r = 0; r < rows; ++r)
    for (Index e = 0; e < cols; ++e) to[r * stride + e] += scale * from[r * padded + e];
}

/// t = cap tanh(u / cap), in place; every element goes through a packet.
template <class S>
void soft_cap_tile(S* s, Index size, S cap) {
  Eigen::Map<Eigen::Array<S, Eigen::Dynamic, 1>, Eigen::AlignedMax> t(s, size);
  t = cap * (t * (S(1) / cap)).tanh();
}

}  // namespace heed::detail
