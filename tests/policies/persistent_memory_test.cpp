// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <archetypes/archetype.hpp>
#include <heed/layers/owning.hpp>
#include <heed/patterns/window.hpp>
#include <heed/policies/linformer.hpp>
#include <laws.hpp>
#include <policies/memory_cases.hpp>

#include <cmath>

using heed::Index;

struct Band : heed::Window {
  Band() : Window(11, 5) {}
};
struct BandRule {
  static constexpr bool everything = false;
  static bool sees(Index p, Index j) { return p - 11 <= j && j <= p + 5; }
};
template <class S>
struct Cases<heed::PersistentMemory<heed::Tiled<S, Band>>>
    : MemoryCases<heed::PersistentMemory<heed::Tiled<S, Band>>, heed::Tiled<S, Band>, BandRule> {};
template <class S>
struct Cases<heed::PersistentMemory<heed::Dense<S>>>
    : MemoryCases<heed::PersistentMemory<heed::Dense<S>>, heed::Dense<S>, SeesEverything> {};

struct OverTiled {
  template <class S>
  using Of = heed::PersistentMemory<heed::Tiled<S>>;
};
struct OverWindow {
  template <class S>
  using Of = heed::PersistentMemory<heed::Tiled<S, Band>>;
};
/// An inner policy that keeps its weights, and so has no independent rows.
struct OverDense {
  template <class S>
  using Of = heed::PersistentMemory<heed::Dense<S>>;
};
const bool laws = register_laws<OverTiled>();

template <class Law, class Family>
void obeys() {
  const Verdict v = Law::template check_family<Family>();
  EXPECT_TRUE(v.ok) << v.log;
}
template <class Family, class... Concerned>
bool on(const char* name) {
  const std::string suite = name;
  heed::for_each_type(heed::TypeList<Concerned...>{},
                      [&]<class Law>() { register_test(suite, Law::name, obeys<Law, Family>); });
  return true;
}
const bool over_window = on<OverWindow, MatchesOracle, Causal, ContainsNan, StreamingEqualsBatch>("OverWindow");
const bool over_dense = on<OverDense, MatchesOracle, MatchesDifferences, ContainsNan, Adds, ReadsAnyLayout,
                           AllocatesNothingAgain, CostHolds>("OverDense");

namespace {

using S = double;
using M = heed::Matrix<S>;
using Tiled = heed::Tiled<S>;
using P = heed::PersistentMemory<Tiled>;
using MemoryRun = Run<P>;  // inside a test, Run is the test's own
using TiledRun = Run<Tiled>;

Case<P> make_case(Index n_q, Index n_k, Index memory) {
  Case<P> c;
  c.options.memory = memory;
  c.shape = {16, 16, 1};
  c.call = {n_q, n_k};
  return c;
}
Case<Tiled> plain_case(Index n_q, Index n_k) {
  Case<Tiled> c;
  c.shape = {16, 16, 1};
  c.call = {n_q, n_k};
  return c;
}

// What it keeps of its inner policy.
static_assert(heed::RowwisePolicy<P> && heed::StreamingPolicy<P> && !heed::ChoosingPolicy<P>);
static_assert(!heed::GroupStreamingPolicy<P>);
using OfDense = heed::PersistentMemory<heed::Dense<S>>;
using DenseRun = Run<OfDense>;
static_assert(heed::RegisteredPolicy<OfDense> && !heed::RowwisePolicy<OfDense> && !heed::StreamingPolicy<OfDense>);
// Tied queries and keys have no field q.
static_assert(!heed::QueryingPolicy<archetype::Buckets<S>>);

TEST(PersistentMemory, WithoutMemoryIsTheInnerPolicy) {
  const auto c = make_case(70, 90, 0);
  MemoryRun run(c);
  run.forward(c);
  run.backward(c);
  const auto plain = plain_case(70, 90);
  TiledRun tiled(plain);
  tiled.in.fields = run.in.fields;
  tiled.in.d_o = run.in.d_o;
  tiled.in.d_lse = run.in.d_lse;
  tiled.forward(plain);
  tiled.backward(plain);
  EXPECT_TRUE(same_bits(run.out.o, tiled.out.o) && same_bits(run.out.lse, tiled.out.lse));
  EXPECT_TRUE(same_bits(run.out.d.q, tiled.out.d.q) && same_bits(run.out.d.k, tiled.out.d.k) &&
              same_bits(run.out.d.v, tiled.out.d.v));
}

TEST(PersistentMemory, WithoutContextIsAttentionToTheMemory) {
  const auto c = make_case(50, 0, 40);
  MemoryRun run(c);
  run.forward(c);
  run.backward(c);
  const auto plain = plain_case(50, 40);
  TiledRun tiled(plain);
  tiled.in.fields = {run.in.fields.q, run.in.own.m_k, run.in.own.m_v};
  tiled.in.d_o = run.in.d_o;
  tiled.in.d_lse = run.in.d_lse;
  tiled.forward(plain);
  tiled.backward(plain);
  EXPECT_TRUE(same_bits(run.out.o, tiled.out.o) && same_bits(run.out.lse, tiled.out.lse));
  EXPECT_TRUE(same_bits(run.out.d.q, tiled.out.d.q) && same_bits(run.out.d_own.m_k, tiled.out.d.k) &&
              same_bits(run.out.d_own.m_v, tiled.out.d.v));
}

TEST(PersistentMemory, LongCallsPassTheMemoryInParts) {
  Case<OfDense> c;
  c.options.memory = 9;
  c.options.rescaled = true;
  c.shape = {3, 5, 1};
  c.call = {heed::softmax_rows_per_task<S> + 40, 7};
  DenseRun run(c);
  run.forward(c);
  const auto expected = Cases<OfDense>::answer(c, run.in);
  Verdict v;
  MatchesOracle::compare<S>(v, "long", "o", run.out.o, expected.o, 8);
  MatchesOracle::compare<S>(v, "long", "lse", run.out.lse, expected.lse, 8);
  EXPECT_TRUE(v.ok) << v.log;
}

TEST(PersistentMemory, EveryRowSeesTheWholeMemory) {
  // Causal, more queries than keys: the first rows have no context, and still the memory.
  auto c = make_case(30, 10, 8);
  c.options.inner.causal = true;
  MemoryRun run(c);
  run.in.own.m_v.setOnes();
  run.in.fields.v.setZero();
  run.forward(c);
  for (Index i = 0; i < 30; ++i) {
    if (i < 20)
      EXPECT_NEAR(run.out.o(i, 0), 1, 1e-14) << i;
    else
      EXPECT_LT(run.out.o(i, 0), 1 - 1e-6) << i;
    EXPECT_GT(run.out.o(i, 0), 0) << i;
  }
}

TEST(PersistentMemory, RescaledParametersAreTheSameFunction) {
  const auto c = make_case(33, 20, 12);
  auto rescaled = c;
  rescaled.options.rescaled = true;
  MemoryRun plain(c), scaled(rescaled);
  scaled.in.fields = plain.in.fields;
  scaled.in.d_o = plain.in.d_o;
  scaled.in.d_lse = plain.in.d_lse;
  scaled.in.own.m_k = plain.in.own.m_k / 4;  // sqrt(d)
  scaled.in.own.m_v = plain.in.own.m_v / std::sqrt(S(12));
  plain.forward(c);
  plain.backward(c);
  scaled.forward(rescaled);
  scaled.backward(rescaled);
  const auto near = [](const M& a, const M& b) {
    return (a - b).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>() < 1e-13;
  };
  EXPECT_TRUE(near(plain.out.o, scaled.out.o));
  EXPECT_TRUE(near(plain.out.d.q, scaled.out.d.q));
  EXPECT_TRUE(near(4 * plain.out.d_own.m_k, scaled.out.d_own.m_k));
  EXPECT_TRUE(near(std::sqrt(S(12)) * plain.out.d_own.m_v, scaled.out.d_own.m_v));
  // Both draw effective keys and values of variance 1.
  heed::Random random(3);
  const P policy({.memory = 500, .rescaled = true}, {64, 32, 1});
  const P::Params p = policy.init(random);
  EXPECT_NEAR(p.m_k.squaredNorm() * 64 / static_cast<S>(p.m_k.size()), 1, 0.05);
  EXPECT_NEAR(p.m_v.squaredNorm() * 500 / static_cast<S>(p.m_v.size()), 1, 0.05);
}

/// A layer's gradients, of every parameter and of x, against differences.
template <class L>
void check_differences(const L& layer, const heed::Batch& batch, Index d_model) {
  heed::Random random(5);
  typename L::Params params = layer.init(random);
  typename L::Shared shared = layer.init_shared(random);
  const heed::Weights<L> weights(params, shared);
  M x = heed::random_normal<S>(random, 12, d_model, 1);
  typename L::Cache cache;
  const M y = layer.forward(weights, x, batch, cache), dy = heed::random_normal<S>(random, y.rows(), y.cols(), 1);
  auto gradient = heed::zeros_like(params);
  auto shared_gradient = heed::zeros_like(shared);
  const M dx = layer.backward(weights, x, batch, cache, dy, heed::Gradients<L>(gradient, shared_gradient));
  const auto probe = [&](const std::string& path, M& m, const M& g) {
    for (Index i = 0; i < m.size(); ++i) {
      const S before = m.data()[i];
      m.data()[i] = before + 1e-5;
      const S above = (layer.replay(weights, x, batch, cache).array() * dy.array()).sum();
      m.data()[i] = before - 1e-5;
      const S difference = (above - (layer.replay(weights, x, batch, cache).array() * dy.array()).sum()) / 2e-5;
      m.data()[i] = before;
      ASSERT_NEAR(g.data()[i], difference, 1e-7 * std::max(1.0, std::abs(difference))) << path << "[" << i << "]";
    }
  };
  heed::for_each(probe, params, gradient);
  heed::for_each(probe, shared, shared_gradient);
  probe("x", x, dx);
}
template <class Inner>
heed::Owning<heed::Attention<heed::PersistentMemory<Inner>>> layer_over(const typename Inner::Options& inner) {
  typename heed::Attention<heed::PersistentMemory<Inner>>::Options o;
  o.d_model = 6;
  o.heads = 2;
  o.head_dim = 3;
  o.value_dim = 2;
  o.policy.memory = 4;
  o.policy.inner = inner;
  return heed::Owning<heed::Attention<heed::PersistentMemory<Inner>>>(o);
}

/// Queries see the keys whose first number has the sign of theirs.
struct SameSign : archetype::Base<S> {
  static constexpr std::string_view name = "SameSign";
  template <class F>
  using Fields = heed::Qkv<F>;
  using Projection = heed::ProjectQkv<S>;
  struct Cache {
    std::vector<bool> q, k;
  };
  using Choices = Cache;
  using Base<S>::Base;
  void check(const heed::Head<SameSign>&, heed::CallShape) const {}
  void reserve(heed::CallShape, Cache&) const {}
  void choose(const heed::Head<SameSign>&, const heed::Qkv<heed::ConstView<S>>& in, Cache& c, heed::Arena&) const {
    c = {};
    for (Index i = 0; i < in.q.rows(); ++i) c.q.push_back(in.q(i, 0) > 0);
    for (Index j = 0; j < in.k.rows(); ++j) c.k.push_back(in.k(j, 0) > 0);
  }
  Choices& choices(Cache& c) const { return c; }
  static auto keys(const Cache& c) {
    return [&c](Index i, auto&& f) {
      for (std::size_t j = 0; j < c.k.size(); ++j)
        if (c.k[j] == c.q[static_cast<std::size_t>(i)]) f(static_cast<Index>(j));
    };
  }
  void forward(const heed::Head<SameSign>&, const heed::Qkv<heed::ConstView<S>>& in, heed::Out<S> out, Cache& c,
               heed::Arena&) const {
    for (Index i = 0; i < in.q.rows(); ++i)
      archetype::row_forward<S>(
          keys(c), [&](Index a, Index b) { return in.q.row(a).dot(in.k.row(b)); }, in.v, i, out);
  }
  void backward(const heed::Head<SameSign>&, const heed::Qkv<heed::ConstView<S>>& in, heed::ConstOut<S> out,
                heed::ConstOut<S> dout, const Cache& c, const heed::Qkv<heed::View<S>>& d,
                const heed::HeadGradient<SameSign>&, heed::Arena&) const {
    heed::View<S> dq = d.q, dk = d.k;
    for (Index i = 0; i < in.q.rows(); ++i)
      archetype::row_backward<S>(
          keys(c), [&](Index a, Index b) { return in.q.row(a).dot(in.k.row(b)); }, in.v, i, out, dout, d.v,
          [&](Index a, Index b, S de) {
            dq.row(a) += de * in.k.row(b);
            dk.row(b) += de * in.q.row(a);
          });
  }
};

TEST(PersistentMemory, OverPoliciesThatLearnShareAndChoose) {
  const heed::Batch batch = heed::Batch::ragged({5, 0, 7});
  using Linformer = heed::Linformer<S, heed::LinformerSharing::none>;
  using Sharing = heed::Linformer<S>;
  check_differences(layer_over<Linformer>({.k = 3, .max_length = 8}), batch, 6);
  check_differences(layer_over<Sharing>({.k = 3, .max_length = 8}), batch, 6);
  check_differences(layer_over<archetype::Distances<S>>({}), batch, 6);
  check_differences(layer_over<SameSign>({}), batch, 6);
  static_assert(heed::ChoosingPolicy<heed::PersistentMemory<SameSign>>);
  EXPECT_EQ(heed::PersistentMemory<archetype::Distances<S>>({}, {3, 2, 2}).causality(), heed::Causality::strict);
}

TEST(PersistentMemory, ANestedMemoryIsALongerOne) {
  using Nested = heed::PersistentMemory<P>;
  static_assert(heed::StreamingPolicy<Nested> && heed::RowwisePolicy<Nested>);
  check_differences(layer_over<P>({.memory = 3}), heed::Batch::ragged({5, 0, 7}), 6);
}

TEST(PersistentMemory, RefusesParametersOfAnotherShape) {
  using A = heed::Attention<P>;
  A::Options options;
  options.d_model = 6;
  options.heads = 2;
  options.policy.memory = 4;
  const A layer(options);
  heed::Random random(1);
  const A::Params params = layer.init(random);
  const M x = heed::random_normal<S>(random, 5, 6, 1);
  A::Cache cache;
  const auto refused = [&](auto&& change) -> std::string {
    A::Params bad = params;
    change(bad.heads[1]);
    try {
      layer.forward(bad, x, heed::Batch::one(5), cache);
    } catch (const heed::ShapeError& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_NE(refused([](P::Params& p) { p.m_k.resize(3, 3); }).find("weights.heads.m_k: [4, 3] expected, came [3, 3]"),
            std::string::npos);
  EXPECT_NE(refused([](P::Params& p) { p.m_v.resize(4, 2); }).find("weights.heads.m_v: [4, 3] expected, came [4, 2]"),
            std::string::npos);
}

}  // namespace
