// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/key_panels.hpp>
#include <heed/kernels/softmax_forward.hpp>

#include <algorithm>
#include <limits>

/// The softmax of the newest queries of a stream over all its keys so far. Many queries go through the tiles of
/// softmax_forward. A few - one token of one head, or of all the heads that share these keys - are too few to fill the
/// lanes of a tile: for them keys lie in the lanes, and keys and values are read once for all.

namespace heed {
namespace detail {

/// Keys of a chunk: their scores stay in the first cache.
inline constexpr Index stream_keys = 512;

/// Buffers of a few queries.
template <class S>
struct FewScratch {
  RowState<S>* states;
  S *q, *s;                      // scale * q [rows][d]; scores [rows][stream_keys]
  S *bias, *alpha, *o, *finite;  // [stream_keys][rows]; [rows]; [rows][d_v]; see product_where_seen

  /// Calls take(type, count) -> pointer for every buffer: the only list of them.
  template <class Take>
  FewScratch(Index rows, Index d, Index d_v, const Take& take) {
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    states = take(static_cast<RowState<S>*>(nullptr), rows);
    q = numbers(rows * d);
    s = numbers(rows * stream_keys);
    bias = numbers(rows * stream_keys);
    alpha = numbers(rows);
    o = numbers(rows * d_v);
    finite = numbers(tile_keys * d_v);
  }
};

/// Whether rows [0, n) are taken position by position instead of as tiles; whole packets of d_v only.
template <class S>
bool few_queries(Index n, Index group, Index d_v) {
  return n > 0 && d_v > 0 && d_v % lanes<S> == 0 && (n <= 3 || (n <= group && n <= 8));
}

/// Query rows `rows`, all at one position.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void softmax_few(const Pattern& pattern, const Term& term, Logits<S> logits, ConstView<S> q, const KeyPanels<S>& k,
                 ConstView<S> v, Range rows, Index group, Out<S>& out, Arena& arena) {
  constexpr Index width = KeyPanels<S>::width;
  constexpr S hidden = -std::numeric_limits<S>::infinity();
  const Arena::Frame frame(arena);
  const Index n_k = k.size(), d = k.dim(), d_v = v.cols(), n = rows.size(), ldv = v.outerStride();
  const FewScratch<S> scratch(n, d, d_v, [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  Tile at{.row = rows.begin, .rows = n, .stride = n, .group = group, .shift = n_k - q.rows() / group};
  const Index p = at.position(0);
  std::fill_n(scratch.states, n, RowState<S>{});
  std::fill_n(scratch.o, n * d_v, S(0));
  for (Index r = 0; r < n; ++r)
    for (Index e = 0; e < d; ++e) scratch.q[r * d + e] = logits.scale * q(rows.begin + r, e);

  Ranges ranges;
  pattern.keys({p, p + 1}, n_k, ranges);
  for (const Range named : ranges) {
    const Range range = intersect(named, {0, n_k});
    for (Index from = range.begin / width * width; from < range.end; from += stream_keys) {
      const Range keys = intersect(range, {from, from + stream_keys});
      S* const s = scratch.s;  // column c is key from + c
      const Index panels = (keys.end - from + width - 1) / width, columns = panels * width;
      for (Index j = 0; j < columns; j += width)
        tile_product<Operand::plain>(n, width / lanes<S>, d, scratch.q, d, k.panel(from + j), width, s + j, stream_keys,
                                     Start::zero);
      for (Index r = 0; r < n && logits.soft_cap > S(0); ++r)
        soft_cap_tile(s + r * stream_keys, columns, logits.soft_cap);
      at.key = keys.begin;
      at.keys = keys.size();
      if (term.active()) {
        for (Index c = 0; c < keys.size(); ++c)
          for (Index r = 0; r < n; ++r) scratch.bias[c * n + r] = s[r * stream_keys + keys.begin - from + c];
        term.fill(at, scratch.bias);
        for (Index c = 0; c < keys.size(); ++c)
          for (Index r = 0; r < n; ++r) s[r * stream_keys + keys.begin - from + c] = scratch.bias[c * n + r];
      }
      const bool all = pattern.all({p, p + 1}, keys);
      for (Index r = 0; r < n; ++r) {
        S* const row = s + r * stream_keys;
        std::fill(row, row + (keys.begin - from), hidden);
        for (Index c = keys.begin - from; c < keys.end - from && !all; ++c)
          if (!pattern.sees(p, from + c)) row[c] = hidden;
        scratch.alpha[r] = row_softmax(row, keys.end - from, scratch.states[r]);
      }
      if (all && !term.hides()) {
        tile_product<Operand::plain>(n, d_v / lanes<S>, keys.size(), s + (keys.begin - from), stream_keys,
                                     v.data() + keys.begin * ldv, ldv, scratch.o, d_v, Start::add, scratch.alpha);
        continue;
      }
      for (Index j = keys.begin; j < keys.end; j += tile_keys)
        product_where_seen<Operand::plain>(
            n, d_v / lanes<S>, std::min(tile_keys, keys.end - j), s + (j - from), stream_keys, v.data() + j * ldv, ldv,
            scratch.o, d_v, Start::add, j == keys.begin ? scratch.alpha : nullptr, scratch.finite,
            [&](Index r, Index c) { return pattern.sees(p, j + c) && term.sees(at, r, j + c); });
    }
  }
  for (Index r = 0; r < n; ++r) finish_row(scratch.o + r * d_v, scratch.states[r], rows.begin + r, out);
}

}  // namespace detail

/// All rows of o and lse. q holds `group` query heads that share the keys, time by time: row r is member r % group at
/// time r / group, and the last time stands at the last key.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void softmax_stream(const Pattern& pattern, const Term& term, Logits<S> logits, ConstView<S> q, const KeyPanels<S>& k,
                    ConstView<S> v, Index group, Out<S> out, Arena& scratch) {
  const Index n = q.rows();
  if (detail::few_queries<S>(n, group, v.cols())) {
    for (Index row = 0, end; row < n; row = end) {
      end = std::min(n, (row / group + 1) * group);
      detail::softmax_few(pattern, term, logits, q, k, v, {row, end}, group, out, scratch);
    }
    return;
  }
  const detail::Keys<S> keys = {.data = k.panel(0), .n = k.size(), .d = k.dim(), .stride = k.width, .panels = true};
  for (Index row = 0; row < n; row += detail::superblock_rows)
    detail::softmax_superblock(pattern, term, logits, q, keys, v, {row, std::min(n, row + detail::superblock_rows)},
                               group, out, scratch);
}

/// Bytes of scratch that softmax_stream takes for up to n rows of q and n_k keys; v lies row by row.
/// `query_block`: the pattern's (query_block_of).
template <class S>
std::size_t softmax_stream_scratch(Index n, Index n_k, Index d, Index d_v, Index group, Index query_block = 0) {
  std::size_t tiles = 0, few = 0;
  const auto add_to = [](std::size_t& bytes) {
    return [&bytes]<class T>(T* none, Index count) {
      bytes += Arena::size_of<T>(count);
      return none;
    };
  };
  detail::ForwardScratch<S>(std::min(n, detail::superblock_rows), query_block * group, n_k, d, d_v, false, false,
                            add_to(tiles));
  const Index together = std::min(n, group);
  if (detail::few_queries<S>(together, group, d_v)) detail::FewScratch<S>(together, d, d_v, add_to(few));
  return std::max(tiles, few);  // a chunk of fewer rows may take them position by position
}

}  // namespace heed
