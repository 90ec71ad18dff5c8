// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/softmax_rows.hpp>
#include <heed/kernels/thin_product.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>

/// The softmax of a few query heads that share the keys and stand at one position: grouped decoding. Too few to fill
/// the lanes of a tile, so keys lie in the lanes here: they are transposed in registers, once for all heads.
///
/// A chunk of keys is taken as the runs that the position sees: what it does not see is never read.

namespace heed::detail {

/// Keys of a chunk.
inline constexpr Index group_keys = 512;

/// Calls take(type, count) for every buffer of the group path.
template <class S>
struct GroupScratch {
  RowState<S>* states;
  S *q, *s;             // scale * q [padded][d] and scores [padded][group_keys]
  S *bias, *alpha, *o;  // [group_keys][rows], [rows], [rows][d_v]
  /// Rows as the product takes them in one pass: zeros where there are none.
  static Index padded(Index rows) { return static_cast<Index>(std::bit_ceil(static_cast<std::size_t>(rows))); }

  template <class Take>
  GroupScratch(Index rows, Index d, Index d_v, const Take& take) {
    const auto numbers = [&](Index count) { return take(static_cast<S*>(nullptr), count); };
    states = take(static_cast<RowState<S>*>(nullptr), rows);
    q = numbers(padded(rows) * d);
    s = numbers(padded(rows) * group_keys);
    bias = numbers(rows * group_keys);
    alpha = numbers(rows);
    o = numbers(rows * d_v);
  }
};

/// Calls f(run, how many keys came before) for the maximal runs of keys in `keys` that position p sees; returns how
/// many keys they hold.
template <KeyPattern Pattern, class F>
Index for_each_run(const Pattern& pattern, Index p, Range keys, const F& f) {
  if (pattern.all({p, p + 1}, keys)) {
    f(keys, Index{0});
    return keys.size();
  }
  Index count = 0;
  for (Index j = keys.begin; j < keys.end; ++j) {
    Range run = {j, j};
    while (run.end < keys.end && pattern.sees(p, run.end)) ++run.end;
    if (run.empty()) continue;
    f(run, count);
    count += run.size();
    j = run.end;
  }
  return count;
}

/// Query rows `rows`, all at one position. The term hides no keys: the heads would not see the same ones.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void softmax_group(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in, Range rows,
                   Index group, Out<S>& out, Arena& arena) {
  const Arena::Frame frame(arena);
  const Index n_k = in.k.rows(), d = in.q.cols(), d_v = in.v.cols(), n = rows.size();
  const Index ldk = in.k.outerStride(), ldv = in.v.outerStride();
  const GroupScratch<S> scratch(n, d, d_v, [&]<class T>(T*, Index count) { return arena.take<T>(count); });
  Tile at{.row = rows.begin, .rows = n, .stride = n, .group = group, .shift = n_k - in.q.rows() / group};
  const Index p = at.position(0);
  std::fill_n(scratch.states, n, RowState<S>{});
  std::fill_n(scratch.o, n * d_v, S(0));
  const S room = weight_room<S>(n_k);
  const Index padded = GroupScratch<S>::padded(n);
  std::fill_n(scratch.q, padded * d, S(0));
  for (Index r = 0; r < n; ++r)
    for (Index e = 0; e < d; ++e)
      scratch.q[r * d + e] = logits.scale * in.q.data()[(rows.begin + r) * in.q.outerStride() + e];

  Ranges ranges;
  pattern.keys({p, p + 1}, n_k, ranges);
  for (const Range named : ranges) {
    const Range range = intersect(named, {0, n_k});
    for (Index from = range.begin; from < range.end; from += group_keys) {
      const Range keys = {from, std::min(range.end, from + group_keys)};
      const Index count = for_each_run(pattern, p, keys, [&](Range run, Index before) {
        thin_product(padded, d, run.size(), scratch.q, d, in.k.data() + run.begin * ldk, ldk, scratch.s + before,
                     group_keys, false);
      });
      if (count == 0) continue;
      for (Index r = 0; r < n && logits.soft_cap > S(0); ++r)
        soft_cap_tile(scratch.s + r * group_keys, packet_padded<S>(count), logits.soft_cap);
      if (term.active()) {
        std::fill_n(scratch.bias, keys.size() * n, S(0));
        at.key = keys.begin;
        at.keys = keys.size();
        term.fill(at, scratch.bias);
        for_each_run(pattern, p, keys, [&](Range run, Index before) {
          for (Index c = 0; c < run.size(); ++c)
            for (Index r = 0; r < n; ++r)
              scratch.s[r * group_keys + before + c] += scratch.bias[(run.begin - keys.begin + c) * n + r];
        });
      }
      for (Index r = 0; r < n; ++r)
        scratch.alpha[r] = row_softmax(scratch.s + r * group_keys, count, room, scratch.states[r]);
      for_each_run(pattern, p, keys, [&](Range run, Index before) {
        tile_product<Operand::plain>(n, d_v / lanes<S>, run.size(), scratch.s + before, group_keys,
                                     in.v.data() + run.begin * ldv, ldv, scratch.o, d_v, Start::add,
                                     before == 0 ? scratch.alpha : nullptr);
      });
    }
  }
  for (Index r = 0; r < n; ++r) finish_row(scratch.o + r * d_v, scratch.states[r], room, rows.begin + r, out);
}

/// Whether `rows` are too few for tiles: one position and at most half a packet of rows, or up to three single rows,
/// one after the other. Whole packets of d and d_v only.
template <class S>
bool few_queries(Range rows, Index group, Index d, Index d_v) {
  if (rows.empty() || d == 0 || d_v == 0 || d % lanes<S> != 0 || d_v % lanes<S> != 0) return false;
  const bool one_position = rows.begin / group == (rows.end - 1) / group;
  return rows.size() <= 3 || (one_position && rows.size() <= lanes<S> / 2);
}

/// Position by position.
template <KeyPattern Pattern, class S, ScoreTerm<S> Term>
void softmax_few(const Pattern& pattern, const Term& term, Logits<S> logits, const Qkv<ConstView<S>>& in, Range rows,
                 Index group, Out<S>& out, Arena& arena) {
  while (!rows.empty()) {
    const Range here = {rows.begin, std::min(rows.end, (rows.begin / group + 1) * group)};
    if (here.size() == 1)
      softmax_row(pattern, term, logits, in, here.begin, group, out, arena);
    else
      softmax_group(pattern, term, logits, in, here, group, out, arena);
    rows.begin = here.end;
  }
}

}  // namespace heed::detail
