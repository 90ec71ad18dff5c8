// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/score_tile.hpp>

#include <algorithm>

/// How a tile of queries passes keys that not all its queries see. At the edges of a pattern - the diagonal, both ends
/// of a window - it goes a packet of queries at a time, each past its own keys only; between the edges, where every
/// packet has keys, as a whole. Membership is asked of the ranges of single queries, not of pairs, wherever these say it
/// all.

namespace heed::detail {

/// The keys of one range that each query of a tile may see, as one range again.
template <class S>
struct Spans {
  static constexpr Index packets = tile_queries<S> / lanes<S>;
  Range of;                                            // the range
  Index begin[tile_queries<S>], end[tile_queries<S>];  // by lane
  Range hull[std::size_t{packets}],
      inner[std::size_t{packets}];  // by packet: what one may see; what all see if `exact`
  bool exact;                       // every query sees all of its range
};

template <class S, KeyPattern Pattern>
void find_spans(const Pattern& pattern, Index n_k, const Index* positions, Index width, Range of, Spans<S>& spans) {
  Ranges ranges;
  Range span;
  spans.of = of;
  spans.exact = true;
  for (Index r = 0; r < width; ++r) {
    const Index p = positions[r];
    if (r == 0 || p != positions[r - 1]) {
      span = {of.end, of.begin};
      ranges.clear();
      pattern.keys({p, p + 1}, n_k, ranges);
      for (const Range named : ranges) {
        const Range seen = intersect(named, of);
        if (seen.empty()) continue;
        spans.exact = spans.exact && span.empty() && pattern.all({p, p + 1}, seen);
        span = {std::min(span.begin, seen.begin), seen.end};
      }
    }
    spans.begin[r] = span.begin;
    spans.end[r] = span.end;
    Range &hull = spans.hull[r / lanes<S>], &inner = spans.inner[r / lanes<S>];
    if (r % lanes<S> == 0) hull = inner = span;
    hull = {std::min(hull.begin, span.begin), std::max(hull.end, span.end)};
    inner = intersect(inner, span);
  }
}

/// A piece of a tile's way: these lanes of it against these keys, at most `tile_keys`.
template <class S>
struct Step {
  Range lanes, keys;
  const Spans<S>* spans;  // null: every query sees every key

  template <KeyPattern Pattern>
  bool all(const Pattern& pattern, const Index* positions) const {
    if (spans == nullptr) return true;
    if (!spans->exact) return pattern.all({positions[lanes.begin], positions[lanes.end - 1] + 1}, keys);
    return intersect(inner(), keys) == keys;
  }
  /// Writes `hidden` to every score of s [keys][lanes] whose query may not see its key.
  template <KeyPattern Pattern>
  void mask(const Pattern& pattern, const Index* positions, S hidden, S* s) const {
    const Index width = lanes.size();
    if (!spans->exact) return mask_tile(pattern, positions + lanes.begin, keys, width, hidden, s);
    S begin[tile_queries<S>], end[tile_queries<S>];  // counted from the first key
    for (Index r = 0; r < width; ++r) {
      begin[r] = static_cast<S>(std::clamp<Index>(spans->begin[lanes.begin + r] - keys.begin, 0, keys.size()));
      end[r] = static_cast<S>(std::clamp<Index>(spans->end[lanes.begin + r] - keys.begin, 0, keys.size()));
    }
    const auto mask_keys = [&](Index from, Index to) {
      for (Index c = from; c < to; ++c)
        for (Index r = 0; r < width; r += detail::lanes<S>)
#pragma GCC unroll 1
          for (Index i = r; i < r + detail::lanes<S>; ++i) {
            const S key = static_cast<S>(c);
            S& at = s[c * width + i];
            at = ((begin[i] <= key) & (key < end[i])) ? at : hidden;
          }
    };
    const Range seen = intersect(inner(), keys);
    if (seen.empty()) return mask_keys(0, keys.size());
    mask_keys(0, seen.begin - keys.begin);
    mask_keys(seen.end - keys.begin, keys.size());
  }

 private:
  /// What all its queries see, if spans are exact.
  Range inner() const {
    Range all = keys;
    for (Index v = lanes.begin / detail::lanes<S>; v < lanes.end / detail::lanes<S>; ++v)
      all = intersect(all, spans->inner[v]);
    return all;
  }
};

/// Calls run(step) for the steps of a tile of `n` queries, `width` lanes, past the keys of `part`, a part of `named`.
/// cut(j) is where the step that begins at key j has to end at the latest. `spans` are the tile's, found when needed.
template <class S, KeyPattern Pattern, class Cut, class Run>
void for_each_step(const Pattern& pattern, Index n_k, const Index* positions, Index n, Index width, Range named,
                   Range part, Spans<S>& spans, const Cut& cut, const Run& run) {
  if (part.empty()) return;
  const auto pass = [&](Range lanes, Range keys, const Spans<S>* known) {
    for (Index j = keys.begin, end; j < keys.end; j = end) {
      end = std::min({keys.end, j + tile_keys, cut(j)});
      run(Step<S>{lanes, {j, end}, known});
    }
  };
  const Range whole{0, width};
  if (pattern.all({positions[0], positions[n - 1] + 1}, part)) return pass(whole, part, nullptr);
  if (!(spans.of == named)) find_spans(pattern, n_k, positions, width, named, spans);
  // The core: keys of which every packet sees some, in whole tiles of the product.
  constexpr Index side = lanes<S>;
  Range core = part;
  for (Index v = 0; v < width / side; ++v) core = intersect(core, spans.hull[v]);
  if (width > side)
    core = {part.begin + (core.begin - part.begin + 7) / 8 * 8, part.begin + (core.end - part.begin) / 8 * 8};
  if (core.empty()) core = {part.end, part.end};
  const auto edges = [&](Range between) {
    for (Index v = 0; v < width / side; ++v)
      pass({v * side, (v + 1) * side}, intersect(spans.hull[v], between), &spans);
  };
  edges({part.begin, core.begin});
  pass(whole, core, &spans);
  edges({core.end, part.end});
}

}  // namespace heed::detail
