// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/fields.hpp>
#include <heed/kernels/bucket_chunks.hpp>
#include <heed/kernels/unit_rows.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace heed::detail {

/// Slots that are gathered at a time, rounded down to whole chunks: with keys, values and results they stay in the
/// second cache.
inline constexpr Index block_slots = 256;

/// use(s) for every s of a range, ask(s) some steps before: rows in random places arrive in time.
template <class Ask, class Use>
void for_each_ahead(Range range, const Ask& ask, const Use& use) {
  constexpr Index ahead = 8;
  for (Index s = range.begin; s < std::min(range.end, range.begin + ahead); ++s) ask(s);
  for (Index s = range.begin; s < range.end; ++s) {
    if (s + ahead < range.end) ask(s + ahead);
    use(s);
  }
}

/// f(round, chunks) for blocks of chunks, round by round.
template <class F>
void for_each_block(const BucketChunks& chunks, const F& f) {
  const Index step = std::max<Index>(1, block_slots / chunks.size);
  for (Index round = 0; round < chunks.rounds; ++round)
    for (Index c = 0; c < chunks.chunks; c += step)
      f(round, Range{round * chunks.chunks + c, round * chunks.chunks + std::min<Index>(chunks.chunks, c + step)});
}

/// Some chunks of one round, gathered in the order of slots, behind the chunk that the first of them looks back to.
template <class S>
struct ChunkBlock {
  Index d, d_v, stride;                  // stride: the most slots
  std::int32_t *token, *chunk, *back;    // [stride], and as in ChunkPattern
  S *q, *k, *norm, *v;                   // queries, keys q / |q|, |q|, values: [stride][d or d_v]
  S *o, *lse;                            // results of the queries; in backward the cotangents do and D - dlse ...
  S *total = nullptr, *zeros = nullptr;  // ... the log-sum-exps over all rounds, a row of zeros
  S *dq = nullptr, *dk = nullptr, *dv = nullptr;

  static Index chunks_of(Index size) { return std::max<Index>(1, block_slots / size); }

  /// Calls take(type, count) -> pointer for every buffer: the only list of them. `rounds`: of which the chunks count.
  template <class Take>
  ChunkBlock(Index chunk_size, Index n, Index rounds, Index key_dim, Index value_dim, bool backward, const Take& take)
      : d(key_dim),
        d_v(value_dim),
        stride(std::min(n, chunks_of(chunk_size) * chunk_size) + std::min(n, chunk_size) + tile_queries<S>) {
    const auto ids = [&](Index count) { return take(static_cast<std::int32_t*>(nullptr), count); };
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    token = ids(stride);
    chunk = ids(rounds * stride);
    back = ids(rounds * stride);
    q = numbers(stride * d);
    k = numbers(stride * d);
    norm = numbers(stride);
    v = numbers(stride * d_v);
    o = numbers(stride * d_v);
    lse = numbers(stride);
    if (!backward) return;
    total = numbers(stride);
    zeros = numbers(d_v);
    dq = numbers(stride * d);
    dk = numbers(stride * d);
    dv = numbers(stride * d_v);
  }

  Index behind = 0, size = 0;  // slots looked back to, and all
  std::int32_t latest = -1;    // the last chunk in here

  /// Takes the chunks [at.begin, at.end) of one round, and of their tokens the chunks in the rounds [0, rounds).
  void gather(const BucketChunks& chunks, Range at, Index rounds, ConstView<S> qk, ConstView<S> values) {
    const std::int32_t first = static_cast<std::int32_t>(at.begin), before = chunks.before[first];
    const bool kept = before >= 0 && before == latest;
    if (kept) keep_last(chunks.slots(before).size());
    size = 0;
    if (before >= 0) add(chunks, chunks.slots(before));
    behind = size;
    for (std::int32_t c = first; c < at.end; ++c) add(chunks, chunks.slots(c));
    latest = static_cast<std::int32_t>(at.end) - 1;
    std::fill(token + size, token + stride, -1);
    for (Index r = 0; r < rounds; ++r) {
      const std::int32_t* const of_token = chunks.chunk + r * chunks.n;
      for (Index s = 0; s < size; ++s) {
        chunk[r * stride + s] = of_token[token[s]];
        back[r * stride + s] = chunks.before[of_token[token[s]]];
      }
      std::fill(chunk + r * stride + size, chunk + (r + 1) * stride, -1);
      std::fill(back + r * stride + size, back + (r + 1) * stride, -1);
    }
    const Range missing = {kept ? behind : 0, size};
    for_each_ahead(
        missing,
        [&](Index s) {
          prefetch(qk.data() + token[s] * qk.outerStride(), d);
          prefetch(values.data() + token[s] * values.outerStride(), d_v);
        },
        [&](Index s) {
          std::copy_n(qk.data() + token[s] * qk.outerStride(), d, q + s * d);
          std::copy_n(values.data() + token[s] * values.outerStride(), d_v, v + s * d_v);
        });
    for (Index s = missing.begin; s < missing.end; ++s) {
      norm[s] = unit_row(q + s * d, d, k + s * d);
      if (std::isnan(norm[s])) std::fill_n(q + s * d, d, norm[s]);  // infinity: scores of -inf would hide every key
    }
  }

  /// f(row, rows, key) for every chunk in here: the queries [row, row + rows) meet the keys [key, row + rows).
  template <class F>
  void for_each_chunk(const BucketChunks& chunks, Range at, const F& f) const {
    Index key = 0, row = behind;
    for (Index c = at.begin; c < at.end; ++c) {
      const Index rows = chunks.slots(static_cast<std::int32_t>(c)).size();
      f(row, rows, key);
      key = row;
      row += rows;
    }
  }
  static View<S> tile(S* all, Index first, Index rows, Index cols) {
    return {all + first * cols, rows, cols, Eigen::OuterStride<>(cols)};
  }
  Qkv<ConstView<S>> fields(Index row, Index rows, Index key) const {
    const Index keys = row + rows - key;
    return {view(tile(q, row, rows, d)), view(tile(k, key, keys, d)), view(tile(v, key, keys, d_v))};
  }

 private:
  /// The last `rows` slots become the first.
  void keep_last(Index rows) {
    const Index from = size - rows;
    std::copy(q + from * d, q + size * d, q);
    std::copy(k + from * d, k + size * d, k);
    std::copy(norm + from, norm + size, norm);
    std::copy(v + from * d_v, v + size * d_v, v);
  }
  void add(const BucketChunks& chunks, Range slots) {
    std::copy_n(chunks.order + slots.begin, slots.size(), token + size);
    size += slots.size();
  }
};

}  // namespace heed::detail
