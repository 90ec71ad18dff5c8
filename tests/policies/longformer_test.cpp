// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/attend.hpp>
#include <heed/policies/dense.hpp>
#include <laws.hpp>
#include <policies/longformer_cases.hpp>

using heed::Index, heed::Matrix;

struct LongformerFamily {
  template <class S>
  using Of = heed::Longformer<S>;
};
const bool laws = register_laws<LongformerFamily>();

namespace {

using P = heed::Longformer<double>;
using M = Matrix<double>;

/// One call with its own globals.
struct Call {
  heed::NoParams none;
  P::Context context;
  P policy;
  heed::LocalGlobal<M> in, d;
  M o, d_o;
  heed::Vector<double> lse;
  heed::Arena scratch;

  Call(const P::Options& options, Index n, std::vector<Index> globals)
      : context{{std::move(globals)}}, policy(options, {6, 6, 1}), o(n, 6), lse(n) {
    heed::Random random(7);
    d_o = heed::random_normal<double>(random, n, 6, 1);
    for (auto* set : {&in.local, &in.global})
      for (M* m : {&set->q, &set->k, &set->v}) *m = heed::random_normal<double>(random, n, 6, 1);
    run();
  }
  void run() {
    const heed::Head<P> head{none, none, context, 0, 0};
    policy.check(head, {o.rows(), o.rows()});
    P::Cache cache;
    policy.forward(head, views(std::as_const(in)), {heed::view(o), heed::view(lse)}, cache, scratch);
    d = in;
    heed::LocalGlobal<M>::map([](heed::Field, M& m) { return m.setZero(), 0; }, d);
    heed::NoParams g;
    policy.backward(head, views(std::as_const(in)), {heed::view(std::as_const(o)), heed::view(std::as_const(lse))},
                    {heed::view(std::as_const(d_o)), {nullptr, 0}}, cache, views(d), heed::HeadGradient<P>{g, g},
                    scratch);
  }
};

/// Dense attention over one of the two sets.
struct OfDense {
  M o, dq, dk, dv;
  OfDense(const heed::Qkv<M>& in, const M& d_o, bool causal) {
    using D = heed::Dense<double>;
    const D dense({.causal = causal}, {6, 6, 1});
    heed::HeadCache<D> cache;
    o = heed::attend(dense, in.q, in.k, in.v, cache).o;
    const auto d = heed::attend_backward(dense, in.q, in.k, in.v, cache, d_o);
    dq = d.q, dk = d.k, dv = d.v;
  }
  void expect_same(const M& got_o, const heed::Qkv<M>& d) const {
    EXPECT_LT((got_o - o).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-14);
    EXPECT_LT((d.q - dq).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
    EXPECT_LT((d.k - dk).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
    EXPECT_LT((d.v - dv).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
  }
};
std::vector<Index> first(Index n) {
  std::vector<Index> all;
  for (Index p = 0; p < n; ++p) all.push_back(p);
  return all;
}
bool zero(const heed::Qkv<M>& d) { return d.q.isZero(0) && d.k.isZero(0) && d.v.isZero(0); }

TEST(Longformer, AsWideAsTheSequenceAndWithoutGlobalsIsDense) {
  for (const bool causal : {false, true})
    for (const Index n : {1, 30, 90}) {
      const Call call({.window = n - 1, .causal = causal}, n, {});
      OfDense(call.in.local, call.d_o, causal).expect_same(call.o, call.d.local);
      EXPECT_TRUE(zero(call.d.global));
    }
}
TEST(Longformer, AllGlobalIsDenseOverTheGlobalSet) {
  for (const bool causal : {false, true})
    for (const Index n : {1, 30, 300}) {
      const Call call({.window = 4, .causal = causal}, n, first(n));
      OfDense(call.in.global, call.d_o, causal).expect_same(call.o, call.d.global);
      EXPECT_TRUE(zero(call.d.local));
    }
}
TEST(Longformer, WindowOfTheTokenItselfGivesItsValue) {
  const Call call({.window = 0}, 20, {});
  EXPECT_EQ(call.o, call.in.local.v);
}
TEST(Longformer, CountsAGlobalKeyInTheWindowOnce) {
  const Call call({.window = 50}, 40, {3, 17, 39});  // local rows see all keys, some of them for two reasons
  const OfDense dense(call.in.local, call.d_o, false);
  for (Index i = 0; i < 40; ++i)
    if (i != 3 && i != 17 && i != 39) {
      EXPECT_LT((call.o.row(i) - dense.o.row(i)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-14) << i;
    }
}
TEST(Longformer, LocalRowsSeeGlobalKeysThroughTheLocalSet) {
  Call call({.window = 2}, 60, {0, 31});
  const M before = call.o;
  call.in.global.k.setConstant(9);
  call.in.global.v.setConstant(9);
  call.in.global.q.setConstant(9);
  call.in.local.q.row(0).setConstant(9);  // of a global row: read by nobody
  call.in.local.q.row(31).setConstant(9);
  call.run();
  for (Index i = 0; i < 60; ++i) EXPECT_EQ(call.o.row(i) == before.row(i), i != 0 && i != 31) << i;
}
TEST(Longformer, GlobalRowsHaveNoLocalQueryGradient) {
  const Call call({.window = 2}, 60, {0, 31});
  for (Index i = 0; i < 60; ++i) {
    const bool global = i == 0 || i == 31;
    EXPECT_EQ(call.d.local.q.row(i).isZero(0), global) << i;
    EXPECT_EQ(call.d.global.q.row(i).isZero(0), !global) << i;
    EXPECT_FALSE(call.d.local.k.row(i).isZero(0) || call.d.global.k.row(i).isZero(0)) << i;
  }
}
TEST(Longformer, CausalRowsSeeGlobalKeysUpToThemselves) {
  Call call({.window = 1, .causal = true}, 50, {2, 30});
  const M before = call.o;
  for (auto* set : {&call.in.local, &call.in.global}) {
    set->k.row(30).setConstant(5);
    set->v.row(30).setConstant(5);
  }
  call.run();
  for (Index i = 0; i < 50; ++i) EXPECT_EQ(call.o.row(i) == before.row(i), i < 30) << i;
}

TEST(Longformer, WithoutGlobalsTheSecondSetHasNoGradient) {
  using A = heed::Attention<P>;
  const A layer({.d_model = 6, .heads = 2, .policy = {.window = 2}, .projection = {.bias = true}});
  heed::Random random(1);
  const A::Params params = layer.init(random);
  heed::for_each([](const std::string& path, const M& a, const M& b) { EXPECT_EQ(a, b) << path; },
                 params.projection.local, params.projection.global);  // as in the paper
  const M x = heed::random_normal<double>(random, 11, 6, 1);
  for (const P::Context& context : {P::Context{}, P::Context{{{}, {}}}, P::Context{{{0}, {2}}}}) {
    A::Params gradient = heed::zeros_like(params);
    A::Cache cache;
    layer.forward(params, x, heed::Batch::ragged({5, 6}), cache, context);
    layer.backward(params, x, heed::Batch::ragged({5, 6}), cache, x, gradient, context);
    const bool any = !context.globals.empty() && !context.globals[0].empty();
    heed::for_each(
        [&](const std::string& path, const M& g) {
          if (path == "bk") return;  // a shift of all keys moves no softmax: 0 but for rounding
          EXPECT_EQ(g.isZero(0), !any) << path;
        },
        gradient.projection.global);
  }
}

TEST(Longformer, NamesTheSequenceAndThePosition) {
  const auto message = [](std::vector<Index> globals) -> std::string {
    try {
      Call call({}, 5, std::move(globals));
    } catch (const heed::ShapeError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message({1, 7}), "context.globals[0]: positions in [0, 5) expected, came 7");
  EXPECT_EQ(message({-2}), "context.globals[0]: positions in [0, 5) expected, came -2");
  EXPECT_EQ(message({3, 3}), "context.globals[0]: ascending positions, each once, expected, came 3 after 3");
  EXPECT_EQ(message({3, 1}), "context.globals[0]: ascending positions, each once, expected, came 1 after 3");
}

TEST(Longformer, RowsInTasksHaveTheBitsOfTheWhole) {
  std::vector<Index> globals{0, 1, 2};
  for (Index p = 700; p < 16 * heed::softmax_rows_per_task<float>; p += 331) globals.push_back(p);
  for (const bool causal : {false, true})
    for (const Index head : {0, 3})
      expect_same_bits_in_tasks<heed::Longformer<float>>({.window = 7, .dilation = {1, 2, 1, 3}, .causal = causal},
                                                         {{globals}}, head);
}

/// Global tokens that have long left the window, and late ones, over a stream much longer than what is kept of it.
TEST(Longformer, StreamsKeepGlobalTokens) {
  using A = heed::Attention<P>;
  const Index n = 400;
  const A layer(
      {.d_model = 8, .heads = 4, .kv_heads = 2, .policy = {.window = 5, .dilation = {1, 3, 2, 1}, .causal = true}});
  heed::Random random(3);
  A::Params params = layer.init(random);
  heed::for_each_leaf([&](M& m) { m = heed::random_normal<double>(random, m.rows(), m.cols(), 0.4); },
                      params.projection);
  const M x = heed::random_normal<double>(random, n, 8, 1);
  const std::vector<Index> globals{0, 1, 2, 57, 200, 201, 333};
  A::Cache cache;
  const M y = layer.forward(params, x, heed::Batch::one(n), cache, P::Context{{globals}});
  A::State state = layer.start(1, n, 6);
  for (Index at = 0, size = 0; at < n; at += size) {
    size = std::min(n - at, random.below(6) + 1);
    P::Context context{{{}}};
    for (const Index p : globals)
      if (p < at + size) context.globals[0].push_back(p);
    const M got = layer.step(params, state, x.middleRows(at, size), heed::Batch::one(size), context);
    EXPECT_LT((got - y.middleRows(at, size)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13) << at;
    EXPECT_LE(state.heads[0].recent.k().rows(), 5 * 3 + 6);
  }
}

}  // namespace
