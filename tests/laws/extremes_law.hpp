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
        for (int s = 0; s < set_count<P>(); ++s) {
          auto& set = set_of<P>(run.in.fields, s);
          queries_of(set) *= size;
          if constexpr (!TiedPolicy<P>) keys_of(set) *= size;
        }
        hull(v, c, run, "logits of scale ", size);
      }
      {
        Run<P> run(c);  // every logit of every row far below 0, so that a maximum floored at 0 would lose them all
        for (int s = 0; s < set_count<P>(); ++s) {
          auto& set = set_of<P>(run.in.fields, s);
          queries_of(set).setConstant(S(30));
          keys_of(set).array() = keys_of(set).array() * S(0.01) - S(30);
        }
        hull(v, c, run, "logits about -900 sqrt(d): ", S(-30));
      }
      {
        Run<P> run(c);
        const S large = top / 2 / reach_of_values(c, run.in);
        for (int s = 0; s < set_count<P>(); ++s) set_of<P>(run.in.fields, s).v.setConstant(large);
        hull(v, c, run, "values of ", large);
      }
    }
  }
  template <class P, class S>
  static void hull(Verdict& v, const Case<P>& c, Run<P>& run, const char* what, S scale) {
    run.forward(c);
    const std::vector<Grid> seen = seen_in_sets<P>(c, run.in);
    const S reach = reach_of_values(c, run.in);
    for (int s = 0; s < set_count<P>(); ++s) {
      const auto& given = set_of<P>(run.in.fields, s).v;
      const heed::Matrix<S> value = averaged_values(c, run.in, s);
      for (heed::Index j = 0; j < value.cols(); ++j) {
        const S low = value.col(j).minCoeff(), high = value.col(j).template maxCoeff<Eigen::PropagateNaN>();
        const S size = std::max(
            {std::abs(low), std::abs(high), reach * given.col(j).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>()});
        // An average of positive weights: its rounding is that of two sums over the keys, as large as the values.
        const S slack =
            4 * std::numeric_limits<S>::epsilon() * size * static_cast<S>(std::sqrt(double(c.call.keys)) + 2);
        for (heed::Index i = 0; i < run.out.o.rows(); ++i) {
          if (set_count<P>() > 1 && !seen[static_cast<std::size_t>(s)].row(i).any()) continue;
          const S x = run.out.o(i, j);
          const bool empty = run.out.lse(i) == -std::numeric_limits<S>::infinity();
          v.expect(empty ? x == S(0) : x >= low - slack && x <= high + slack, c.label, ": ", what, scale, ": o(", i,
                   ", ", j, ") = ", x, " outside [", low, ", ", high, "]");
        }
      }
    }
    for (heed::Index i = 0; i < run.out.o.rows(); ++i) {
      const bool any =
          sees_besides(c) || std::any_of(seen.begin(), seen.end(), [&](const Grid& g) { return g.row(i).any(); });
      v.expect(any == (run.out.lse(i) != -std::numeric_limits<S>::infinity()), c.label, ": ", what, scale, ": lse(", i,
               ") = ", run.out.lse(i));
    }
  }
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>>(v);
    check<typename Family::template Of<double>>(v);
    return v;
  }
};
