// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/logits.hpp>

namespace heed {

/// Adds nothing.
struct NoTerm {
  constexpr bool active() const { return false; }
  constexpr bool hides() const { return false; }
  constexpr bool sees(const Tile&, Index, Index) const { return true; }
  template <class S>
  void fill(const Tile&, S*) const {}
  template <class S>
  void pull(const Tile&, const S*) const {}
};
static_assert(ScoreTerm<NoTerm, float> && ScoreTerm<NoTerm, double>);

}  // namespace heed
