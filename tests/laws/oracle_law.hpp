// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <verdict.hpp>

/// Output, log-sum-exp and every gradient equal the oracle's, within a bound that the oracle derives for each number: 8
/// units of rounding times its gauge forward, 16 backward (an honest computation stays below 2 and 4).
struct MatchesOracle {
  static constexpr const char* name = "matches_oracle";

  template <class S>
  static void compare(Verdict& v, const std::string& label, const char* what, const heed::Matrix<S>& got,
                      const oracle::Gauged& expected, oracle::Real units) {
    const oracle::Real u = oracle::Real(std::numeric_limits<S>::epsilon()) / 2;
    for (heed::Index i = 0; i < got.rows(); ++i)
      for (heed::Index j = 0; j < got.cols(); ++j) {
        const oracle::Real x = oracle::Real(got(i, j)), y = expected.value(i, j);
        const oracle::Real bound = units * u * expected.gauge(i, j) + 4 * oracle::Real(std::numeric_limits<S>::min());
        v.expect(x == y || std::abs(x - y) <= bound, label, ": ", what, "(", i, ", ", j, ") = ", x, ", expected ", y,
                 " within ", bound);
      }
  }

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    for (const Case<P>& c : Cases<P>::all()) {
      Run<P> run(c);
      run.forward(c);
      run.backward(c);
      const auto expected = Cases<P>::answer(c, run.in);
      compare<S>(v, c.label, "o", run.out.o, expected.o, 8);
      compare<S>(v, c.label, "lse", run.out.lse, expected.lse, 8);
      Cases<P>::compare_gradients(run.in, run.out, expected,
                                  [&](const char* what, const heed::Matrix<S>& got, const oracle::Gauged& gauged) {
                                    compare<S>(v, c.label, what, got, gauged, 16);
                                  });
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
