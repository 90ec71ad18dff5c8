// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/fields.hpp>
#include <heed/core/range.hpp>
#include <heed/core/types.hpp>

#include <concepts>

namespace heed {

// --- key patterns
// -----------------------------------------------------------------------------------------------------

/// Which keys may a query see. Both sides are counted among the keys: the query in row i of n_q has the position
/// p = i + n_k - n_q, so that the last query stands at the last key (bottom-right). p is negative in rows that come
/// before every key.
///
/// - `keys(positions, n_k, ranges)` adds ranges that cover every key which a query at one of `positions` may see. It
/// decides
///   the cost. It may name more keys than are seen, and ends past n_k or below 0: the kernel clips them.
/// - `sees(p, j)` is the membership. It decides the result.
/// - `all(positions, keys)` may be true only if every query at `positions` sees every key of `keys`: such a block runs
///   without any test. Saying false is always right, and slower.
template <class T>
concept KeyPattern = std::copy_constructible<T> &&
    requires(const T t, Range positions, Index n_k, Index p, Range keys, Ranges& ranges) {
  t.keys(positions, n_k, ranges);
  { t.sees(p, p) } -> std::same_as<bool>;
  { t.all(positions, keys) } -> std::same_as<bool>;
};

// --- score terms
// ------------------------------------------------------------------------------------------------------

/// Where a tile of scores stands: `rows` query rows from `row` on against `keys` keys from `key` on. Scores lie
/// transposed, queries side by side: the one of key `key + c` and row `row + r` is `s[c * stride + r]`. Rows may come
/// from `group` query heads that share the keys, side by side: row r is member r % group at time r / group.
struct Tile {
  Index row = 0, rows = 0, key = 0, keys = 0, stride = 0;
  Index group = 1;  ///< members that share the keys
  Index shift = 0;  ///< n_k - n_q: what a query's time lacks to its position among the keys
  constexpr Index position(Index r) const { return (row + r) / group + shift; }
  constexpr Index member(Index r) const { return (row + r) % group; }
};

/// What is added to the scores of a tile (after scale and soft cap), and how its gradient goes back.
///
/// - `active()`: false if `fill` would add nothing and `pull` take nothing; then neither is called.
/// - `fill(tile, s)` adds to every score of the tile. -inf is allowed and masks.
/// - `pull(tile, ds)` is given the cotangent of the same tile, dE, exactly 0 where nothing is seen.
template <class T, class S>
concept ScoreTerm = requires(const T t, const Tile& tile, S* s, const S* ds) {
  { t.active() } -> std::same_as<bool>;
  t.fill(tile, s);
  t.pull(tile, ds);
};

}  // namespace heed
