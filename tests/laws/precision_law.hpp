// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <verdict.hpp>

/// Float agrees with double on the same numbers and choices: forward within 2e-5, gradients within 2e-4 of their size.
/// (The sharp bounds are the oracle's; this one asks whether a float path forgot something that the double path does.)
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
      const auto near = [&](const std::string& what, const auto& x, const auto& y, double tolerance) {
        double size = 1;
        for (heed::Index i = 0; i < y.size(); ++i)
          if (std::isfinite(y.data()[i])) size = std::max(size, std::abs(y.data()[i]));
        for (heed::Index i = 0; i < x.size(); ++i) {
          const double a = double(x.data()[i]), b = y.data()[i];
          v.expect(a == b || std::abs(a - b) <= tolerance * size, c.label, ": ", what, "[", i, "] = ", a, " in float, ",
                   b, " in double");
        }
      };
      near("o", run.out.o, exact.out.o, 2e-5);
      near("lse", run.out.lse, exact.out.lse, 2e-5);
      Names::map([&](heed::Field f, auto& x, auto& y) { return near(f.name, x, y, 2e-4), 0; }, run.out.d, exact.out.d);
    }
    return v;
  }
};
