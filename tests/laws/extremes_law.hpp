// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <verdict.hpp>

/// Logits of 1e4 and far beyond, of -1e4 in a whole row, equal logits, tiny and huge values: finite, inside the hull of
/// the values, weights that sum to 1.
struct SurvivesExtremes {
  static constexpr const char* name = "survives_extremes";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    const S top = std::numeric_limits<S>::max();
    for (const Case<P>& c : Cases<P>::all()) {
      if (c.call.queries == 0 || c.call.keys == 0) continue;
      for (const S size : {S(100), std::sqrt(std::sqrt(top)), std::numeric_limits<S>::denorm_min(), S(0)}) {
        Run<P> run(c);
        queries_of(run.in.fields) *= size;
        if constexpr (!TiedPolicy<P>) keys_of(run.in.fields) *= size;
        hull(v, c, run, "logits of scale ", size);
      }
      {
        Run<P> run(c);  // every logit of every row far below 0, so that a maximum floored at 0 would lose them all
        queries_of(run.in.fields).setConstant(S(30));
        keys_of(run.in.fields).array() = keys_of(run.in.fields).array() * S(0.01) - S(30);
        hull(v, c, run, "logits about -900 sqrt(d): ", S(-30));
      }
      {
        Run<P> run(c);
        run.in.fields.v.setConstant(top / 2);
        hull(v, c, run, "values of ", top / 2);
      }
    }
  }
  template <class P, class S>
  static void hull(Verdict& v, const Case<P>& c, Run<P>& run, const char* what, S size) {
    run.forward(c);
    const auto& value = run.in.fields.v;
    for (heed::Index j = 0; j < value.cols(); ++j) {
      const S low = value.col(j).minCoeff(), high = value.col(j).maxCoeff();
      const S slack = 64 * std::numeric_limits<S>::epsilon() * std::max(std::abs(low), std::abs(high)) *
                      static_cast<S>(std::sqrt(double(c.call.keys)) + 1) / 8;
      for (heed::Index i = 0; i < run.out.o.rows(); ++i) {
        const S x = run.out.o(i, j);
        const bool empty = run.out.lse(i) == -std::numeric_limits<S>::infinity();
        v.expect(empty ? x == S(0) : x >= low - slack && x <= high + slack, c.label, ": ", what, size, ": o(", i, ", ",
                 j, ") = ", x, " outside [", low, ", ", high, "]");
      }
    }
    const auto seen = Cases<P>::seen(c, run.in);
    for (heed::Index i = 0; i < run.out.o.rows(); ++i)
      v.expect(seen.row(i).any() == (run.out.lse(i) != -std::numeric_limits<S>::infinity()), c.label, ": ", what, size,
               ": lse(", i, ") = ", run.out.lse(i));
  }
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>>(v);
    check<typename Family::template Of<double>>(v);
    return v;
  }
};
