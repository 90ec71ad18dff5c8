// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <verdict.hpp>

/// The gradient of every field and every learned number is the central difference of w.o + w'.lse: within 1e-7 in
/// double, and 1e-9 with the same code in long double.
struct MatchesDifferences {
  static constexpr const char* name = "matches_differences";

  template <class P>
  static void check(Verdict& v, typename P::Scalar h, typename P::Scalar tolerance) {
    using S = typename P::Scalar;
    for (const Case<P>& c : Cases<P>::small()) {
      Run<P> run(c);
      run.forward(c);
      run.backward(c);
      const Results<P> made = run.out;
      const auto loss = [&] {
        const heed::Arena::Frame frame(run.scratch);
        run.policy.forward(head_of(c, run.in), views(std::as_const(run.in.fields)),
                           {heed::view(run.out.o), heed::view(run.out.lse)}, run.out.cache, run.scratch);
        S sum = 0;
        for (heed::Index i = 0; i < run.out.o.rows(); ++i) {
          for (heed::Index j = 0; j < run.out.o.cols(); ++j) sum += run.in.d_o(i, j) * run.out.o(i, j);
          if (std::isfinite(run.out.lse(i))) sum += run.in.d_lse(i) * run.out.lse(i);
        }
        return sum;
      };
      const auto probe = [&](const std::string& what, heed::Matrix<S>& m, const heed::Matrix<S>& gradient) {
        for (heed::Index i = 0; i < m.size(); ++i) {
          S& x = m.data()[i];
          const S before = x;
          x = before + h;
          const S above = loss();
          x = before - h;
          const S difference = (above - loss()) / (2 * h);
          x = before;
          const S error = std::abs(difference - gradient.data()[i]);
          v.expect(error <= tolerance * std::max(S(1), std::abs(difference)), c.label, ": d ", what, "[", i,
                   "] = ", gradient.data()[i], ", difference ", difference);
        }
      };
      P::template Fields<heed::Matrix<S>>::map(
          [&](heed::Field f, heed::Matrix<S>& m, const heed::Matrix<S>& g) { return probe(f.name, m, g), 0; },
          run.in.fields, made.d);
      heed::for_each(probe, run.in.own, made.d_own);
      heed::for_each(probe, run.in.shared, made.d_shared);
    }
  }
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<double>>(v, 1e-5, 1e-7);
    check<typename Family::template Of<long double>>(v, 1e-6L, 1e-9L);
    return v;
  }
};
