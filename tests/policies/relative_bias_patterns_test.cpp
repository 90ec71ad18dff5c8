// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/patterns/window.hpp>
#include <laws.hpp>
#include <policies/relative_cases.hpp>

/// The bias over a window obeys the laws that a pattern can break.

struct Band : heed::Window {
  Band() : Window(11, 5) {}
};
struct BandRule {
  static bool sees(heed::Index p, heed::Index j) { return p - 11 <= j && j <= p + 5; }
};
template <class S>
struct Cases<heed::RelativeBias<S, Band>> : RelativeCases<heed::RelativeBias<S, Band>, BandRule> {};

struct BandFamily {
  template <class S>
  using Of = heed::RelativeBias<S, Band>;
};
template <class Law>
void obeys() {
  const Verdict v = Law::template check_family<BandFamily>();
  EXPECT_TRUE(v.ok) << v.log;
}
const bool laws = [] {
  using Concerned = heed::TypeList<MatchesOracle, MatchesDifferences, ContainsNan, Causal, Deterministic,
                                   StreamingEqualsBatch, CostHolds>;
  heed::for_each_type(Concerned{}, []<class Law>() { register_test("Window", Law::name, obeys<Law>); });
  return true;
}();
