// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <verdict.hpp>

/// A causal policy keeps the future from the past: whatever later tokens are, NaN included, earlier rows keep their
/// bits
/// (`values_only`: whatever later values are). And it uses the past: the last row moves with the first token.
struct Causal {
  static constexpr const char* name = "is_causal";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    heed::Index checked = 0;
    for (const Case<P>& c : Cases<P>::all()) {
      Run<P> run(c);
      if (run.policy.causality() == heed::Causality::none || c.call.queries == 0 || c.call.keys == 0) continue;
      ++checked;
      const bool strict = run.policy.causality() == heed::Causality::strict;
      run.forward(c);
      const Results<P> made = run.out;
      const auto original = run.in.fields;
      const heed::Index shift = c.call.keys - c.call.queries;
      for (const S poison : {S(3), std::numeric_limits<S>::quiet_NaN()})
        for (const heed::Index row : {c.call.queries / 3, c.call.queries - 1}) {  // the last row that must not move
          P::template Fields<heed::Matrix<S>>::map(
              [&](heed::Field f, auto& m) {
                const heed::Index from =
                    std::max<heed::Index>(0, (f.rows == heed::Rows::queries ? row : row + shift) + 1);
                if (f.rows != heed::Rows::fixed && from < m.rows() && (strict || std::string(f.name) == "v"))
                  m.bottomRows(m.rows() - from).setConstant(poison);
                return 0;
              },
              run.in.fields);
          run.forward(c);
          v.expect(same_bits(run.out.o.topRows(row + 1), made.o.topRows(row + 1)) &&
                       same_bits(run.out.lse.head(row + 1), made.lse.head(row + 1)),
                   c.label, ": rows up to ", row, " moved when later tokens became ", poison);
          run.in.fields = original;
        }
      if (c.call.keys < 2 || made.lse(c.call.queries - 1) == -std::numeric_limits<S>::infinity()) continue;
      if (!Cases<P>::sees_first(c)) continue;
      P::template Fields<heed::Matrix<S>>::map(
          [&](heed::Field f, auto& m) {
            if (std::string(f.name) == "v") m.row(0).array() += S(8);
            return 0;
          },
          run.in.fields);
      run.forward(c);
      v.expect(!same_bits(run.out.o.bottomRows(1), made.o.bottomRows(1)), c.label,
               ": the last row does not move with the first token");
    }
    v.expect(checked > 0 || !Cases<P>::can_be_causal, "no causal case was checked");
  }
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>>(v);
    check<typename Family::template Of<double>>(v);
    return v;
  }
};
