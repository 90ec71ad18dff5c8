// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>

/// Patterns compose at compile time: `a | b` sees what either sees, `a & b` what both see.

namespace heed {

namespace detail {
/// Of two natural blocks of queries; 0 is none.
constexpr Index finer_block(Index a, Index b) { return a == 0 || (b != 0 && b < a) ? b : a; }
}  // namespace detail

template <KeyPattern A, KeyPattern B>
struct Union {
  A a;
  B b;
  void keys(Range positions, Index n_k, Ranges& ranges) const {
    a.keys(positions, n_k, ranges);
    b.keys(positions, n_k, ranges);
  }
  bool sees(Index p, Index j) const { return a.sees(p, j) || b.sees(p, j); }
  bool all(Range positions, Range keys) const { return a.all(positions, keys) || b.all(positions, keys); }
  Index query_block() const { return detail::finer_block(query_block_of(a), query_block_of(b)); }
};

template <KeyPattern A, KeyPattern B>
struct Intersection {
  A a;
  B b;
  void keys(Range positions, Index n_k, Ranges& ranges) const {
    Ranges of_a, of_b;
    a.keys(positions, n_k, of_a);
    b.keys(positions, n_k, of_b);
    for (const Range x : of_a)
      for (const Range y : of_b) ranges.add(intersect(x, y));
  }
  bool sees(Index p, Index j) const { return a.sees(p, j) && b.sees(p, j); }
  bool all(Range positions, Range keys) const { return a.all(positions, keys) && b.all(positions, keys); }
  Index query_block() const { return detail::finer_block(query_block_of(a), query_block_of(b)); }
};

template <KeyPattern A, KeyPattern B>
constexpr Union<A, B> operator|(A a, B b) {
  return {a, b};
}
template <KeyPattern A, KeyPattern B>
constexpr Intersection<A, B> operator&(A a, B b) {
  return {a, b};
}

}  // namespace heed
