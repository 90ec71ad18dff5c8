// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <verdict.hpp>

/// Forward assigns. Backward adds to input and parameter gradients: after a second call they have grown by the first
/// once more, and numbers put there before stay in the sum. Both leave their inputs alone.
struct Adds {
  static constexpr const char* name = "adds";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    const S unit = 64 * std::numeric_limits<S>::epsilon();
    for (const Case<P>& c : Cases<P>::all()) {
      Run<P> run(c);
      const auto before = run.in.fields;
      run.forward(c);
      v.expect(!run.out.o.hasNaN() && !run.out.lse.hasNaN(), c.label, ": forward left numbers as they were");
      run.backward(c);
      const Results<P> once = run.out;
      const auto near = [&](const std::string& what, const auto& sum, const auto& a, const auto& b) {
        for (heed::Index i = 0; i < sum.size(); ++i) {
          const S x = a.data()[i], y = b.data()[i];
          v.expect(std::abs(sum.data()[i] - (x + y)) <= unit * (std::abs(x) + std::abs(y) + 1), c.label, ": ", what,
                   "[", i, "] = ", sum.data()[i], " after ", y, " was added to ", x);
        }
      };
      ::backward(run.policy, c, run.in, run.out, run.scratch);
      compare(run.out, once, once, near);
      Results<P> preset = once;
      const auto fill = [](auto& m) { m.setConstant(S(0.5)); };
      P::template Fields<heed::Matrix<S>>::map([&](heed::Field, auto& m) { return fill(m), 0; }, preset.d);
      heed::for_each_leaf(fill, preset.d_own);
      heed::for_each_leaf(fill, preset.d_shared);
      const Results<P> halves = preset;
      ::backward(run.policy, c, run.in, preset, run.scratch);
      compare(preset, halves, once, near);
      P::template Fields<heed::Matrix<S>>::map(
          [&](heed::Field f, auto& m, auto& old) {
            return v.expect(same_bits(m, old), c.label, ": input ", f.name, " was written"), 0;
          },
          run.in.fields, before);
    }
  }
  template <class P, class F>
  static void compare(const Results<P>& sum, const Results<P>& a, const Results<P>& b, const F& near) {
    P::template Fields<heed::Matrix<typename P::Scalar>>::map(
        [&](heed::Field f, auto& s, auto& x, auto& y) { return near(f.name, s, x, y), 0; }, sum.d, a.d, b.d);
    heed::for_each(near, sum.d_own, a.d_own, b.d_own);
    heed::for_each(near, sum.d_shared, a.d_shared, b.d_shared);
  }
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>>(v);
    check<typename Family::template Of<double>>(v);
    return v;
  }
};
