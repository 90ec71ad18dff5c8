// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/batch.hpp>
#include <heed/core/dropout.hpp>
#include <heed/core/parallel.hpp>
#include <heed/core/range.hpp>
#include <heed/core/types.hpp>

#include <algorithm>

/// Work that is done row by row: panels of rows, whose cut follows from the shape alone, one task each.

namespace heed {

/// The height of a panel: enough work for a task, and no more than `most` panels.
constexpr Index panel_height(Index rows, Index cols, Index most) {
  constexpr Index least_numbers = Index{1} << 14;
  const Index worth = least_numbers / std::max<Index>(1, cols) + 1;
  return std::max(worth, (rows + most - 1) / most);
}
constexpr Index panels_of(Index rows, Index height) { return (rows + height - 1) / height; }

/// Calls `f(panel, segment)` for the rows of each panel that lie in segments.
template <class F>
void for_each_panel(const std::vector<Segment>& segments, Index rows, Index height, Workers& workers, F&& f) {
  workers.run(panels_of(rows, height), [&](Index panel, Arena&) {
    const Range all{panel * height, std::min(rows, (panel + 1) * height)};
    for_each_run(segments, [&](Segment run) {
      const Range r = intersect(all, {run.begin, run.begin + run.size});
      if (!r.empty()) f(panel, Segment{r.begin, r.size()});
    });
  });
}

/// Calls `f(row)` for every row in a segment, in parallel.
template <class F>
void for_each_row(const std::vector<Segment>& segments, Index rows, Index cols, Workers& workers, F&& f) {
  for_each_panel(segments, rows, panel_height(rows, cols, 64), workers, [&](Index, Segment part) {
    for (Index i = part.begin; i < part.begin + part.size; ++i) f(i);
  });
}

template <class S>
void zero_gaps(const std::vector<Segment>& segments, View<S> m) {
  for_each_gap(segments, m.rows(), [&](Segment gap) { block(m, gap.begin, 0, gap.size, m.cols()).setZero(); });
}

/// y = a + sign dropout(b) on the rows of segments; y may be a or b.
template <class S>
void add_dropped(const std::vector<Segment>& segments, ConstView<S> a, S sign, ConstView<S> b, const Dropout& dropout,
                 View<S> y, Workers& workers) {
  const DropMask mask(dropout);
  const Index n = y.cols();
  for_each_row(segments, y.rows(), n, workers, [&](Index i) {
    const S* const from = a.data() + i * a.outerStride();
    const S* const more = b.data() + i * b.outerStride();
    S* const to = y.data() + i * y.outerStride();
    if (mask.active())
      mask.add(i, n, from, sign, more, to);
    else
      for (Index c = 0; c < n; ++c) to[c] = from[c] + sign * more[c];
  });
}

/// y = x on the rows of segments, 0 elsewhere.
template <class S>
void copy_rows(const std::vector<Segment>& segments, ConstView<S> x, View<S> y, Workers& workers) {
  zero_gaps<S>(segments, y);
  for_each_row(segments, y.rows(), y.cols(), workers,
               [&](Index i) { std::copy_n(x.data() + i * x.outerStride(), y.cols(), y.data() + i * y.outerStride()); });
}

/// y = dropout(x) on the rows of segments; y may be x.
template <class S>
void drop(const std::vector<Segment>& segments, ConstView<S> x, const Dropout& dropout, View<S> y, Workers& workers) {
  const DropMask mask(dropout);
  for_each_row(segments, y.rows(), y.cols(), workers, [&](Index i) {
    mask.apply(i, y.cols(), x.data() + i * x.outerStride(), y.data() + i * y.outerStride());
  });
}

}  // namespace heed
