// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/position_list.hpp>
#include <heed/core/residues.hpp>
#include <heed/patterns/window.hpp>

/// The three patterns between which a window with global positions is cut, so that each is dense where it is computed:
/// windows of rows that are not global; global keys, gathered, outside the windows; global rows, gathered.

namespace heed {

/// A window among the positions of one residue, of the rows that are not global; the others see nothing.
struct LocalRows {
  Window window;
  PositionList globals;
  Residue at;
  void keys(Range positions, Index n_k, Ranges& ranges) const {
    if (positions.size() > 1 || !globals.holds(whole(positions.begin))) window.keys(positions, n_k, ranges);
  }
  bool sees(Index p, Index j) const { return window.sees(p, j) && !globals.holds(whole(p)); }
  bool all(Range positions, Range keys) const {
    return window.all(positions, keys) && !globals.any_in({whole(positions.begin), whole(positions.end - 1) + 1});
  }

 private:
  Index whole(Index p) const { return at.key + p * at.step; }
};
static_assert(KeyPattern<LocalRows>);

/// Some global keys, one after another, as rows that are not global see them outside their windows of `width` steps. The
/// query at p stands at p + shift among all keys.
struct ListedKeys {
  PositionList globals, listed;
  Index shift, width, step;
  bool causal;
  void keys(Range positions, Index n, Ranges& ranges) const {
    const Range rows = {positions.begin + shift, positions.end + shift};
    if (rows.size() == 1 && globals.holds(rows.begin)) return;
    const Index end = causal ? listed.before(rows.end) : n;
    if (step > 1) return ranges.add({0, end});  // between the keys of a window, too
    ranges.add({0, listed.before(rows.end - 1 - width)});
    ranges.add({listed.before(rows.begin + width + 1), end});
  }
  bool sees(Index p, Index c) const {
    const Index row = p + shift, key = listed[c], distance = key > row ? key - row : row - key;
    const bool in_window = distance % step == 0 && distance / step <= width;
    return !in_window && (!causal || key <= row) && !globals.holds(row);
  }
  bool all(Range positions, Range keys) const {
    const Range rows = {positions.begin + shift, positions.end + shift};
    const Index before = rows.begin - listed[keys.end - 1], after = listed[keys.begin] - (rows.end - 1);
    return (beyond(before) || (beyond(after) && !causal)) && !globals.any_in(rows);
  }

 private:
  bool beyond(Index gap) const { return gap > 0 && (gap - 1) / step >= width; }
};
static_assert(KeyPattern<ListedKeys>);

/// Some global rows, one after another: the query at p stands at `listed[p - shift]` among all keys, and sees them all,
/// or when causal those up to itself.
struct ListedRows {
  PositionList listed;
  Index shift;
  bool causal;
  void keys(Range positions, Index n_k, Ranges& ranges) const {
    ranges.add({0, causal ? listed[positions.end - 1 - shift] + 1 : n_k});
  }
  bool sees(Index p, Index j) const { return !causal || j <= listed[p - shift]; }
  bool all(Range positions, Range keys) const { return !causal || keys.end <= listed[positions.begin - shift] + 1; }
};
static_assert(KeyPattern<ListedRows>);

}  // namespace heed
