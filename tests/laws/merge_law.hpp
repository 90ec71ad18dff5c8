// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <heed/kernels/merge.hpp>
#include <laws/oracle_law.hpp>
#include <verdict.hpp>

/// Results over disjoint keys merge into the result over all of them, by their log-sum-exps alone.
struct ResultsMerge {
  static constexpr const char* name = "results_merge";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    heed::Index checked = 0;
    for (const Case<P>& c : Cases<P>::all()) {
      if (!Cases<P>::keys_split(c)) continue;
      Run<P> whole(c);
      whole.forward(c);
      const auto expected = Cases<P>::answer(c, whole.in);
      for (const heed::Index cut : {heed::Index(0), c.call.keys / 3, c.call.keys}) {
        ++checked;
        heed::Matrix<S> o[2];
        heed::Vector<S> lse[2];
        for (const int part : {0, 1}) {
          Case<P> half = c;
          half.call.keys = part == 0 ? cut : c.call.keys - cut;
          Run<P> run(half);
          run.in.fields.q = whole.in.fields.q;
          run.in.fields.k = whole.in.fields.k.middleRows(part == 0 ? 0 : cut, half.call.keys);
          run.in.fields.v = whole.in.fields.v.middleRows(part == 0 ? 0 : cut, half.call.keys);
          run.forward(half);
          o[part] = run.out.o;
          lse[part] = run.out.lse;
        }
        heed::merge<S>({heed::view(o[0]), heed::view(lse[0])},
                       {heed::view(std::as_const(o[1])), heed::view(std::as_const(lse[1]))});
        MatchesOracle::compare<S>(v, c.label, "merged o", o[0], expected.o, 12);
        MatchesOracle::compare<S>(v, c.label, "merged lse", lse[0], expected.lse, 12);
      }
    }
    v.expect(checked > 0, "no case was checked");
  }
  /// Tied keys cannot be split from their queries.
  template <class Family>
  static constexpr bool applies = !TiedPolicy<typename Family::template Of<float>>;
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>>(v);
    check<typename Family::template Of<double>>(v);
    return v;
  }
};
