// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <layers.hpp>
#include <verdict.hpp>

/// Equal arguments give equal bits: for 1, 2, 3 and 8 threads, again and again, forward and backward; and a head cut
/// into blocks of rows has the bits of the whole.
struct Deterministic {
  static constexpr const char* name = "deterministic";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    const heed::Batch batch = heed::Batch::ragged({3, 450, 0, 97});
    const heed::Index rows = 550;
    const std::size_t sets = layer_options<P>().size();
    for (std::size_t set = 0; set < sets; ++set) {
      heed::Matrix<S> y, dx;
      typename heed::Attention<P>::Params gradient;
      for (const int threads : {1, 1, 2, 3, 8, 2}) {
        Layer<P> layer(layer_options<P>(threads)[set]);
        const heed::Matrix<S> x = tokens<S>(rows, 10, 7), dy = tokens<S>(rows, 10, 8);
        for (int again = 0; again < 2; ++again) {
          layer.clear();
          const heed::Matrix<S> now = layer.forward(x, batch), dnow = layer.backward(x, batch, dy);
          if (y.size() == 0) {
            y = now;
            dx = dnow;
            gradient = layer.gradient;
          }
          v.expect(same_bits(now, y), "y depends on the call, with ", threads, " threads");
          v.expect(same_bits(dnow, dx), "dx depends on the call, with ", threads, " threads");
          heed::for_each(
              [&](const std::string& path, const auto& g, const auto& h) {
                v.expect(same_bits(g, h), "the gradient of ", path, " depends on the call, with ", threads, " threads");
              },
              layer.gradient, gradient);
        }
      }
    }
    if constexpr (heed::RowwisePolicy<P>)
      for (const Case<P>& c : Cases<P>::all()) {
        Run<P> run(c);
        run.forward(c);
        const Results<P> whole = run.out;
        run.out.o.setZero();
        run.out.lse.setZero();
        const heed::Index step = run.policy.rows_per_task();
        for (heed::Index at = 0; at < c.call.queries; at += step) {
          const heed::Arena::Frame frame(run.scratch);
          run.policy.forward_rows(head_of(c, run.in), views(std::as_const(run.in.fields)),
                                  {at, std::min(c.call.queries, at + step)},
                                  {heed::view(run.out.o), heed::view(run.out.lse)}, run.scratch);
        }
        v.expect(same_bits(run.out.o, whole.o) && same_bits(run.out.lse, whole.lse), c.label,
                 ": rows cut into tasks differ");
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
