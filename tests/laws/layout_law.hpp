// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <verdict.hpp>

/// Where numbers lie does not matter: strided and unaligned views, whose surroundings hold NaN, give the bits of
/// contiguous ones, and nothing around the results is written. Nor does what earlier calls left in the scratch memory
/// matter.
struct ReadsAnyLayout {
  static constexpr const char* name = "reads_any_layout";

  /// A copy of `m` inside a larger matrix, off every alignment; the rest is NaN.
  template <class S>
  struct Inside {
    heed::Matrix<S> all;
    heed::View<S> view;
    explicit Inside(const heed::Matrix<S>& m)
        : all(heed::Matrix<S>::Constant(m.rows() + 2, m.cols() + 5, std::numeric_limits<S>::quiet_NaN())),
          view(heed::block(all, 1, 3, m.rows(), m.cols())) {
      view = m;
    }
    Inside(const Inside& o) : all(o.all), view(heed::block(all, 1, 3, o.view.rows(), o.view.cols())) {}
    bool surroundings_untouched() const {
      return all.array().isNaN().count() == all.size() - view.size() + view.array().isNaN().count();
    }
  };

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    using Views = typename P::template Fields<Inside<S>>;
    for (const Case<P>& c : Cases<P>::all()) {
      Run<P> plain(c);
      plain.forward(c);
      plain.backward(c);
      Run<P> run(c);
      const auto inside = [](heed::Field, auto& m) { return Inside<S>(m); };
      Views fields = P::template Fields<heed::Matrix<S>>::map(inside, run.in.fields);
      clear_gradients(run.in, run.out);
      Views gradients = P::template Fields<heed::Matrix<S>>::map(inside, run.out.d);
      Inside<S> o(heed::Matrix<S>::Zero(c.call.queries, c.shape.value_dim)), d_o(run.in.d_o);
      run.out.lse.setZero(c.call.queries);

      // Scratch in three states: fresh, full of NaN, and with leftovers of the call itself.
      for (const bool poisoned : {false, true}) {
        if (poisoned) {
          const heed::Arena::Frame frame(run.scratch);
          const heed::Index n = static_cast<heed::Index>(run.scratch.bytes() / sizeof(S));
          run.scratch.template vector<S>(n).setConstant(std::numeric_limits<S>::quiet_NaN());
        }
        const auto in =
            Views::map([](heed::Field, const auto& i) { return heed::view(i.view); }, std::as_const(fields));
        {
          const heed::Arena::Frame frame(run.scratch);
          if constexpr (heed::ChoosingPolicy<P>) run.policy.choose(head_of(c, run.in), in, run.out.cache, run.scratch);
          run.policy.forward(head_of(c, run.in), in, {o.view, heed::view(run.out.lse)}, run.out.cache, run.scratch);
        }
        Views::map([](heed::Field, auto& i) { return i.view.setZero(), 0; }, gradients);
        const heed::Arena::Frame frame(run.scratch);
        run.policy.backward(head_of(c, run.in), in, {heed::view(o.view), heed::view(std::as_const(run.out.lse))},
                            {heed::view(d_o.view), heed::view(std::as_const(run.in.d_lse))}, run.out.cache,
                            Views::map([](heed::Field, auto& i) { return i.view; }, gradients),
                            heed::HeadGradient<P>{run.out.d_own, run.out.d_shared}, run.scratch);
        v.expect(same_bits(o.view, plain.out.o) && same_bits(run.out.lse, plain.out.lse), c.label,
                 ": forward depends on the layout", poisoned ? " of scratch" : "");
        v.expect(o.surroundings_untouched(), c.label, ": forward writes outside its output");
        using Both = typename P::template Fields<heed::Matrix<S>>;
        static_cast<void>(sizeof(Both));
        Views::map(
            [&](heed::Field f, const auto& got, const auto& want) {
              v.expect(same_bits(got.view, want), c.label, ": d", f.name, " depends on the layout",
                       poisoned ? " of scratch" : "");
              v.expect(got.surroundings_untouched(), c.label, ": backward writes outside d", f.name);
              return 0;
            },
            std::as_const(gradients), std::as_const(plain.out.d));
      }
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
