// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <allocations.hpp>
#include <layers.hpp>
#include <verdict.hpp>

/// A call whose tokens, sequences and longest length this cache has met allocates nothing: forward, backward, streams.
struct AllocatesNothingAgain {
  static constexpr const char* name = "allocates_nothing_again";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    {
      const long before = allocations::calls;
      const heed::Matrix<S> control(30, 30);
      v.expect(allocations::calls > before, "the counter does not count");
    }
    for (auto options : layer_options<P>()) {
      Layer<P> layer(options);
      const heed::Matrix<S> x = tokens<S>(160, options.d_model, 9), dy = tokens<S>(160, options.d_model, 10);
      const auto call = [&](const heed::Batch& batch, const typename P::Context& context) {
        layer.attention.forward(layer.weights(), x, batch, layer.cache, context);
        layer.attention.backward(layer.weights(), x, batch, layer.cache, dy,
                                 heed::Gradients<heed::Attention<P>>(layer.gradient, layer.shared_gradient), context);
      };
      const heed::Batch longest = heed::Batch::ragged({90, 3, 0, 40, 5, 20});
      call(longest, layer.context(longest));
      for (const std::vector<heed::Index>& n :
           {std::vector<heed::Index>{90, 3, 0, 40, 5, 20}, {5, 90, 20, 40}, {90, 68}, {79, 79}, {1, 1, 1, 1, 1, 90}}) {
        const heed::Batch batch = heed::Batch::ragged(n);
        const typename P::Context context = layer.context(batch);
        const long before = allocations::calls;
        call(batch, context);
        v.expect(allocations::calls == before, allocations::calls - before,
                 " allocations in a call like an earlier one");
      }
      if constexpr (heed::StreamingPolicy<P>) {
        if (layer.attention.policy().causality() == heed::Causality::none) continue;
        auto state = layer.attention.start(2, 64, 8);
        const heed::Batch chunk = heed::Batch::ragged({8, 8}), one = heed::Batch::ragged({1, 1});
        const heed::Matrix<S> first = x.topRows(16), next = x.topRows(2);
        layer.attention.step(layer.weights(), state, first, chunk);
        const long before = allocations::calls;
        for (int i = 0; i < 20; ++i) layer.attention.step(layer.weights(), state, next, one);
        layer.attention.step(layer.weights(), state, first, chunk);
        v.expect(allocations::calls == before, allocations::calls - before, " allocations in a running stream");
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

/// What a policy says it costs is what it takes: scratch in use never exceeds `cost`, nor is it much less for long
/// sequences; room made in the cache is what is said to be saved; multiply-adds are those of the pairs seen.
struct CostHolds {
  static constexpr const char* name = "cost_holds";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    for (const Case<P>& c : Cases<P>::all()) {
      Run<P> run(c);
      const heed::Cost cost = run.policy.cost(c.call);
      const std::size_t before = allocations::bytes;
      run.policy.reserve(c.call, run.out.cache);
      const std::size_t saved = allocations::bytes - before;
      v.expect(saved <= cost.saved + 256 && cost.saved <= saved + 256, c.label, ": ", saved, " bytes saved, ",
               cost.saved, " published");
      run.forward(c);
      v.expect(run.scratch.peak() <= cost.forward_scratch, c.label, ": forward took ", run.scratch.peak(),
               " bytes of scratch, ", cost.forward_scratch, " published");
      heed::Arena fresh;
      clear_gradients(run.in, run.out);
      ::backward(run.policy, c, run.in, run.out, fresh);
      v.expect(fresh.peak() <= cost.backward_scratch, c.label, ": backward took ", fresh.peak(), " bytes of scratch, ",
               cost.backward_scratch, " published");
      const double pairs = static_cast<double>(Cases<P>::seen_pairs(c));
      const double d = static_cast<double>(c.shape.key_dim), d_v = static_cast<double>(c.shape.value_dim);
      v.expect(Cases<P>::multiply_adds(c, pairs, d, d_v) == std::pair(cost.forward, cost.backward), c.label,
               ": multiply-adds ", cost.forward, " and ", cost.backward);
      if constexpr (heed::HeadCostPolicy<P>) {
        const heed::Cost own = run.policy.cost(head_of(c, run.in), c.call);
        const double seen = static_cast<double>(Cases<P>::seen(c, run.in).count());
        v.expect(Cases<P>::multiply_adds(c, seen, d, d_v) == std::pair(own.forward, own.backward), c.label,
                 ": multiply-adds of this head ", own.forward, " and ", own.backward);
        v.expect(own.forward <= cost.forward && own.backward <= cost.backward && own.saved <= cost.saved &&
                     own.forward_scratch <= cost.forward_scratch && own.backward_scratch <= cost.backward_scratch,
                 c.label, ": this head costs more than any");
      }
    }
    // Inside a layer, where heads are strided: the published figures are not far above what is used.
    for (auto options : layer_options<P>()) {
      Layer<P> layer(options);
      const heed::Index n = 700;
      const heed::Matrix<S> x = tokens<S>(n, options.d_model, 2);
      layer.forward(x, heed::Batch::one(n));
      const heed::Cost cost = layer.attention.policy().cost({n, n});
      const std::size_t forward = layer.cache.workers.peak();
      v.expect(forward <= cost.forward_scratch * 2 + (1u << 20), "a layer took ", forward, " bytes of scratch, ",
               cost.forward_scratch, " published for its policy");
      layer.backward(x, heed::Batch::one(n), x);
      const std::size_t most = layer.cache.workers.peak();
      v.expect(cost.backward_scratch <= most * 5 / 4 + 4096, "published ", cost.backward_scratch, " bytes, ", most,
               " used");
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
