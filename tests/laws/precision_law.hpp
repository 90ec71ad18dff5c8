// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <laws/oracle_law.hpp>
#include <verdict.hpp>

#include <vector>

/// Float agrees with double on the same numbers and choices, within what the oracle allows to float: whether a float
/// path forgot something that the double path does.
struct FloatAgrees {
  static constexpr const char* name = "float_agrees_with_double";

  template <class Family>
  static Verdict check_family() {
    using F = typename Family::template Of<float>;
    using D = typename Family::template Of<double>;
    Verdict v;
    const auto floats = Cases<F>::all();
    const auto doubles = Cases<D>::all();
    v.expect(floats.size() == doubles.size(), "different cases");
    for (std::size_t n = 0; n < floats.size(); ++n) {
      const Case<F>& c = floats[n];
      const Case<D>& e = doubles[n];
      Run<F> run(c);
      Run<D> exact(e);
      using Names = typename D::template Fields<heed::Matrix<double>>;
      Names::map([](heed::Field, auto& to, auto& from) { return to = from.template cast<double>(), 0; },
                 exact.in.fields, run.in.fields);
      for (std::size_t s = 0; s < exact.in.storage.size(); ++s)
        exact.in.storage[s] = run.in.storage[s].template cast<double>();
      exact.in.d_o = run.in.d_o.template cast<double>();
      exact.in.d_lse = run.in.d_lse.template cast<double>();
      run.forward(c);
      run.backward(c);
      if constexpr (heed::ChoosingPolicy<F>)
        exact.replay(e, run.out.cache);
      else
        exact.forward(e);
      exact.backward(e);
      const auto expected = Cases<F>::answer(c, run.in);
      // 9 units where the oracle gives 8, as the double rounds too; 17 for 16.
      const auto near = [&](const char* what, const heed::Matrix<float>& x, const heed::Matrix<double>& y,
                            const oracle::Gauged& gauged, oracle::Real units) {
        oracle::Gauged target = gauged;
        target.value = y.template cast<oracle::Real>();
        MatchesOracle::compare<float>(v, c.label + " float and double", what, x, target, units);
      };
      near("o", run.out.o, exact.out.o, expected.o, 9);
      near("lse", run.out.lse, exact.out.lse, expected.lse, 9);
      std::vector<heed::Matrix<double>> gradients;
      Cases<D>::compare_gradients(
          exact.in, exact.out, Cases<D>::answer(e, exact.in),
          [&](const char*, const heed::Matrix<double>& got, const oracle::Gauged&) { gradients.push_back(got); });
      std::size_t at = 0;
      Cases<F>::compare_gradients(run.in, run.out, expected,
                                  [&](const char* what, const heed::Matrix<float>& got, const oracle::Gauged& gauged) {
                                    near(what, got, gradients[at++], gauged, 17);
                                  });
    }
    return v;
  }
};
