// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <layers.hpp>
#include <verdict.hpp>

#include <stdexcept>

/// Each misuse throws an `invalid_argument` that names the argument; nothing is written: results, gradients and streams
/// are as before, and the next proper call works.
struct RejectsBadInput {
  static constexpr const char* name = "rejects_bad_input";

  template <class F>
  static void refused(Verdict& v, const std::string& what, const std::string& names, F&& f) {
    try {
      f();
      v.expect(false, what, ": accepted");
    } catch (const std::invalid_argument& e) {
      v.expect(std::string(e.what()).find(names) != std::string::npos, what, ": the message does not name '", names,
               "': ", e.what());
    } catch (const std::exception& e) {
      v.expect(false, what, ": threw something else: ", e.what());
    }
  }

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    using A = heed::Attention<P>;
    using M = heed::Matrix<S>;
    const auto good = layer_options<P>().front();
    const auto options = [&](const char* what, const char* names, auto&& change) {
      auto bad = good;
      change(bad);
      refused(v, what, names, [&] { A a(bad); });
    };
    options("d_model 0", "d_model", [](auto& o) { o.d_model = 0; });
    options("d_model negative", "d_model", [](auto& o) { o.d_model = -3; });
    options("d_memory negative", "d_memory", [](auto& o) { o.d_memory = -1; });
    options("no heads", "heads", [](auto& o) { o.heads = 0; });
    options("heads negative", "heads", [](auto& o) { o.heads = -4; });
    options("kv_heads 3 of 4", "kv_heads", [](auto& o) { o.kv_heads = 3; });
    options("kv_heads negative", "kv_heads", [](auto& o) { o.kv_heads = -1; });
    options("kv_heads above heads", "kv_heads", [](auto& o) { o.kv_heads = 8; });
    options("head_dim negative", "head_dim", [](auto& o) { o.head_dim = -1; });
    options("head_dim 0 with 10 over 4", "head_dim", [](auto& o) { o.head_dim = 0; });
    options("value_dim negative", "value_dim", [](auto& o) { o.value_dim = -1; });
    options("no threads", "threads", [](auto& o) { o.threads = 0; });
    Cases<P>::bad_options([&](const char* what, const char* names, const typename P::Options& policy) {
      auto bad = good;
      bad.policy = policy;
      refused(v, what, names, [&] { A a(bad); });
    });

    Layer<P> layer(good);
    const heed::Batch batch = heed::Batch::ragged({3, 5});
    const M x = tokens<S>(8, 10, 1), dy = tokens<S>(8, 10, 2);
    const M y = layer.forward(x, batch);
    const auto unchanged = [&](const char* what) {
      v.expect(same_bits(layer.cache.y.view(), y), what, ": the last result was written to");
      bool zero = true;
      heed::for_each_leaf([&](const auto& g) { zero = zero && (g.array() == S(0)).all(); }, layer.gradient);
      v.expect(zero, what, ": gradients were written to");
    };
    const auto forward = [&](const char* what, const char* names, const auto& bad_x, const heed::Batch& b) {
      refused(v, what, names, [&] { layer.attention.forward(layer.weights(), bad_x, b, layer.cache); });
      unchanged(what);
    };
    forward("x too narrow", "x:", M(8, 9), batch);
    forward("x too wide", "x:", M(8, 11), batch);
    const M wide(8, 20);
    forward("inner stride 2",
            "x:", Eigen::Map<const M, 0, Eigen::Stride<-1, -1>>(wide.data(), 8, 10, Eigen::Stride<-1, -1>(20, 2)),
            batch);
    forward("segment leaves the matrix", "batch.q[1]", x, heed::Batch{{{0, 3}, {3, 6}}, {{0, 3}, {3, 6}}});
    forward("segment begins outside", "batch.q[0]", x, heed::Batch{{{9, 1}}, {{9, 1}}});
    forward("segments overlap", "batch.q[1]", x, heed::Batch{{{0, 3}, {2, 3}}, {{0, 3}, {2, 3}}});
    forward("segments out of order", "batch.q[1]", x, heed::Batch{{{3, 3}, {0, 3}}, {{3, 3}, {0, 3}}});
    forward("negative size", "batch.q[0]", x, heed::Batch{{{0, -1}}, {{0, -1}}});
    forward("negative begin", "batch.q[0]", x, heed::Batch{{{-1, 2}}, {{-1, 2}}});
    forward("keys that are not the queries", "batch", x, heed::Batch{{{0, 3}}, {{0, 4}}});
    forward("more queries than keys", "batch", x, heed::Batch{{{0, 3}, {3, 1}}, {{0, 3}}});
    refused(v, "negative length", "batch", [&] { heed::Batch::ragged({3, -1}); });
    refused(v, "length above the stride", "batch", [&] { heed::Batch::padded({3, 5}, 4); });

    const auto weights = [&](const char* what, const char* names, auto&& change) {
      auto bad = layer.params;
      change(bad);
      refused(v, what, names,
              [&] { layer.attention.forward(heed::Weights<A>(bad, layer.shared), x, batch, layer.cache); });
      unchanged(what);
    };
    weights("wo misshapen", "weights.wo", [](auto& p) { p.wo.resize(3, 3); });
    weights("bo misshapen", "weights.bo", [](auto& p) { p.bo.resize(1, 3); });
    weights("a head missing", "weights.heads", [](auto& p) { p.heads.pop_back(); });
    heed::for_each(
        [&](const std::string& path, const auto&) {
          if (path.rfind("projection.", 0) == 0)
            weights(("misshapen " + path).c_str(), "weights.projection", [&](auto& p) {
              heed::for_each(
                  [&](const std::string& at, auto& m) {
                    if (at == path) m.resize(m.rows() + 1, m.cols() + 1);
                  },
                  p);
            });
        },
        layer.params);

    const auto backward = [&](const char* what, const char* names, const M& bx, const heed::Batch& b, const M& bdy,
                              auto& g) {
      refused(v, what, names, [&] {
        layer.attention.backward(layer.weights(), bx, b, layer.cache, bdy,
                                 heed::Gradients<A>(g, layer.shared_gradient));
      });
      unchanged(what);
    };
    backward("dy too short", "dy", x, batch, M(7, 10), layer.gradient);
    backward("dy too narrow", "dy", x, batch, M(8, 9), layer.gradient);
    backward("x of another call", "x:", M(9, 10), batch, dy, layer.gradient);
    backward("batch of another call", "cache", x, heed::Batch::ragged({4, 4}), dy, layer.gradient);
    auto misshapen = layer.gradient;
    misshapen.wo.resize(2, 2);
    backward("gradients of another shape", "gradients", x, batch, dy, misshapen);

    weights("bo lying down", "weights.bo", [](auto& p) { p.bo.resize(10, 1); });
    refused(v, "a negative stride", "batch", [&] { heed::Batch::padded({3, 5}, -5); });
    const heed::Index huge = std::numeric_limits<heed::Index>::max();
    refused(v, "more rows than can be counted", "batch", [&] { heed::Batch::ragged({huge, huge}); });
    {
      auto wider = good;
      wider.head_dim = good.head_dim + 1;
      Layer<P> other(wider);
      refused(v, "a cache of another layer", "cache", [&] {
        other.attention.backward(other.weights(), x, batch, layer.cache, dy,
                                 heed::Gradients<A>(other.gradient, other.shared_gradient));
      });
      refused(v, "head_cache of another layer", "head_cache", [&] { other.attention.head_cache(layer.cache, 0, 0); });
      refused(v, "replay of another layer", "cache",
              [&] { other.attention.replay(other.weights(), x, batch, layer.cache); });
      typename A::Cache fresh;
      refused(v, "backward without forward", "cache", [&] {
        layer.attention.backward(layer.weights(), x, heed::Batch(), fresh, dy,
                                 heed::Gradients<A>(layer.gradient, layer.shared_gradient));
      });
    }
    if constexpr (P::Projection::crosses)
      refused(v, "cross-attention's backward after self-attention", "cache", [&] {
        layer.attention.backward(layer.weights(), x, x, batch, layer.cache, dy,
                                 heed::Gradients<A>(layer.gradient, layer.shared_gradient));
      });
    Cases<P>::bad_contexts(batch, [&](const char* what, const typename P::Context& context) {
      refused(v, what, "context", [&] { layer.attention.forward(layer.weights(), x, batch, layer.cache, context); });
      refused(v, what, "context", [&] {
        layer.attention.backward(layer.weights(), x, batch, layer.cache, dy,
                                 heed::Gradients<A>(layer.gradient, layer.shared_gradient), context);
      });
      unchanged(what);
    });
    if constexpr (heed::StreamingPolicy<P>) stream<P>(v, good, x);
    v.expect(same_bits(layer.forward(x, batch), y), "the next proper call gives another result");
  }

  template <class P>
  static void stream(Verdict& v, typename heed::Attention<P>::Options options,
                     const heed::Matrix<typename P::Scalar>& x) {
    for (const auto& policy : Cases<P>::options(options.heads)) {
      options.policy = policy;
      Layer<P> layer(options);
      if (layer.attention.policy().causality() == heed::Causality::none) {
        refused(v, "a stream that sees the future", "causal", [&] { layer.attention.start(1, 8, 8); });
        continue;
      }
      refused(v, "sequences negative", "sequences", [&] { layer.attention.start(-1, 8, 8); });
      refused(v, "capacity negative", "capacity", [&] { layer.attention.start(1, -8, 8); });
      refused(v, "no chunk", "longest_chunk", [&] { layer.attention.start(1, 8, 0); });
      auto state = layer.attention.start(1, 6, 4);
      const auto step = [&](const char* what, const char* names, heed::Index rows, const heed::Batch& b) {
        refused(v, what, names, [&] { layer.attention.step(layer.weights(), state, x.topRows(rows), b); });
      };
      step("chunk too long", "batch.q[0]", 5, heed::Batch::one(5));
      step("two sequences for one", "batch", 4, heed::Batch::ragged({2, 2}));
      layer.attention.step(layer.weights(), state, x.topRows(4), heed::Batch::one(4), layer.context({4}));
      step("past the capacity", "capacity", 3, heed::Batch::one(3));
      auto other = options;
      other.head_dim = options.head_dim + 1;
      Layer<P> wider(other);
      refused(v, "a state of another width", "state",
              [&] { wider.attention.step(wider.weights(), state, x.topRows(1), heed::Batch::one(1)); });
      const heed::Matrix<typename P::Scalar> y = layer.forward(x.topRows(6), heed::Batch::one(6));
      const heed::Matrix<typename P::Scalar> z =
          layer.attention.step(layer.weights(), state, x.middleRows(4, 2), heed::Batch::one(2), layer.context({6}));
      v.expect((z - y.bottomRows(2)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>() < typename P::Scalar(1e-4),
               "a refused step moved the stream");
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
