// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/layers/owning.hpp>
#include <heed/policies/tiled.hpp>
#include <laws.hpp>
#include <policies/span_cases.hpp>

const bool laws = register_laws<AdaptiveSpanFamily>();

namespace {

using heed::AdaptiveSpan, heed::Attention, heed::Batch, heed::DynamicSpan, heed::Index, heed::Matrix, heed::Random;
using P = AdaptiveSpan<double>;
using A = Attention<P>;

Case<P> one_case(const P::Options& options, Index n_q, Index n_k, Index d = 16) {
  Case<P> c;
  c.options = options;
  c.shape = {d, d, 1};
  c.call = {n_q, n_k};
  c.label = "n_q " + std::to_string(n_q) + ", n_k " + std::to_string(n_k);
  return c;
}

/// What the definition says of a case, everything: results and gradients.
template <class Policy>
void expect_oracle(const Case<Policy>& c) {
  using S = typename Policy::Scalar;
  Run<Policy> run(c);
  run.forward(c);
  run.backward(c);
  const auto expected = Cases<Policy>::answer(c, run.in);
  Verdict v;
  MatchesOracle::compare<S>(v, c.label, "o", run.out.o, expected.o, 8);
  MatchesOracle::compare<S>(v, c.label, "lse", run.out.lse, expected.lse, 8);
  Cases<Policy>::compare_gradients(run.in, run.out, expected,
                                   [&](const char* what, const Matrix<S>& got, const oracle::Gauged& gauged) {
                                     MatchesOracle::compare<S>(v, c.label, what, got, gauged, 16);
                                   });
  EXPECT_TRUE(v.ok) << v.log;
}

TEST(AdaptiveSpan, LongRowsCrossEveryBlock) {
  for (const double z : {0.0, 130.3, 400.6, 611.7}) {
    expect_oracle(one_case({.max_span = 700, .ramp = 32, .initial_span = z}, 900, 900));
    expect_oracle(one_case({.max_span = 700, .ramp = 32, .initial_span = z, .sees_itself = false}, 450, 1000, 20));
  }
}

TEST(AdaptiveSpan, ZeroHistoryTakesWeight) {
  for (const Index n_q : {1, 5, 40, 470})
    for (const Index n_k : {0, 1, 5, 40, 470, 600})
      for (const bool itself : {false, true}) {
        expect_oracle(one_case(
            {.max_span = 50, .ramp = 8, .initial_span = 20.3, .sees_itself = itself, .zero_history = true}, n_q, n_k));
        Case<DynamicSpan<float>> c;
        c.options = {.max_span = 50, .ramp = 8, .sees_itself = itself, .zero_history = true};
        c.shape = {7, 9, 1};
        c.call = {n_q, n_k};
        expect_oracle(c);
      }
}

/// The authors' procedure, step by step: the past is padded with zeros, the current token is no key, all max_span
/// weights are normalised, then masked by a template that begins at 0, then normalised again with a small constant.
TEST(AdaptiveSpan, MeetsTheAuthorsForm) {
  const Index n = 60, most = 24, d = 8;
  const double ramp = 5, part = 0.37;
  P::Options options{.max_span = most, .ramp = ramp, .initial_span = part * most};
  options.sees_itself = false;
  options.zero_history = true;
  const Case<P> c = one_case(options, n, n, d);
  ::Run<P> run(c);
  run.forward(c);
  Matrix<double> k = Matrix<double>::Zero(most + n, d), v = k;
  k.bottomRows(n) = run.in.fields.k;
  v.bottomRows(n) = run.in.fields.v;
  for (Index i = 0; i < n; ++i) {
    Eigen::RowVectorXd weights(most);  // of the keys i ... i + most - 1, the last of which is the token before i
    for (Index a = 0; a < most; ++a)
      weights(a) = std::exp((run.in.fields.q.row(i).dot(k.row(i + a)) +
                             run.in.fields.q.row(i).dot(run.in.shared.table.row(most - 1 - a))) /
                            std::sqrt(double(d)));
    weights /= weights.sum();
    for (Index a = 0; a < most; ++a)
      weights(a) *= std::clamp((double(1 - most + a) + part * most) / ramp + 1, 0.0, 1.0);
    weights /= weights.sum() + 1e-8;
    const Eigen::RowVectorXd o = weights * v.middleRows(i, most);
    for (Index e = 0; e < d; ++e) EXPECT_NEAR(run.out.o(i, e), o(e), 1e-6) << i;
  }
}

TEST(AdaptiveSpan, PaperAndCodeDifferByOne) {
  // z = 0: weights fall from 1 (code) or (R - 1) / R (paper) over the keys before the token.
  for (const Index origin : {0, 1}) {
    P::Options options{.max_span = 10, .ramp = 4, .sees_itself = false, .distance_origin = origin};
    const Case<P> c = one_case(options, 12, 12, 4);
    ::Run<P> run(c);
    run.in.fields.q.setZero();
    run.forward(c);
    double sum = 0;
    Eigen::RowVectorXd o = Eigen::RowVectorXd::Zero(4);
    for (Index x = origin; x < 4; ++x) {
      sum += double(4 - x) / 4;
      o += double(4 - x) / 4 * run.in.fields.v.row(11 - 1 - (x - origin));
    }
    EXPECT_NEAR(run.out.lse(11), std::log(sum), 1e-14);
    for (Index e = 0; e < 4; ++e) EXPECT_NEAR(run.out.o(11, e), o(e) / sum, 1e-14);
    EXPECT_EQ(run.out.lse(0), -std::numeric_limits<double>::infinity()) << "the first token has nothing before it";
    EXPECT_TRUE((run.out.o.row(0).array() == 0).all());
  }
}

TEST(AdaptiveSpan, NoSpanStillSeesItself) {
  const Case<P> c = one_case({.max_span = 10, .ramp = 1}, 9, 9);
  ::Run<P> run(c);
  run.forward(c);
  for (Index i = 0; i < 9; ++i)
    for (Index e = 0; e < 16; ++e) EXPECT_NEAR(run.out.o(i, e), run.in.fields.v(i, e), 1e-15);
}

/// The whole span over everything: causal attention with q.table as a bias, and no gradient for the span.
TEST(AdaptiveSpan, WholeSpanIsDenseAttention) {
  const Index n = 150, d = 16;
  const Case<P> c = one_case({.max_span = 200, .ramp = 20, .initial_span = 180}, n, n, d);
  ::Run<P> run(c);
  run.forward(c);
  run.backward(c);
  using Dense = heed::Tiled<double>;
  const Dense dense({.causal = true}, c.shape);
  Matrix<double> bias = Matrix<double>::Zero(n, n), dbias = bias;
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j <= i; ++j)
      bias(i, j) = run.in.fields.q.row(i).dot(run.in.shared.table.row(i - j)) / std::sqrt(double(d));
  heed::ScoreBias<double> context{.blocks = {heed::view(std::as_const(bias))},
                                  .per = heed::BiasPer::sequence_and_head,
                                  .gradient = {heed::view(dbias)}};
  heed::NoParams none;
  const heed::Head<Dense> head{none, none, context, 0, 0};
  Results<P> r;
  clear_gradients(run.in, r);
  r.o.resize(n, d), r.lse.resize(n);
  Dense::Cache cache;
  heed::Arena scratch;
  dense.forward(head, views(std::as_const(run.in.fields)), {heed::view(r.o), heed::view(r.lse)}, cache, scratch);
  dense.backward(head, views(std::as_const(run.in.fields)),
                 {heed::view(std::as_const(r.o)), heed::view(std::as_const(r.lse))},
                 {heed::view(std::as_const(run.in.d_o)), heed::view(std::as_const(run.in.d_lse))}, cache, views(r.d),
                 {none, none}, scratch);
  for (Index i = 0; i < n; ++i)
    for (Index j = 0; j <= i; ++j) {
      const double de = dbias(i, j) / std::sqrt(double(d));
      r.d.q.row(i) += de * run.in.shared.table.row(i - j);
      r.d_shared.table.row(i - j) += de * run.in.fields.q.row(i);
    }
  const auto near = [](const char* what, const Matrix<double>& a, const Matrix<double>& b) {
    EXPECT_LT((a - b).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(),
              1e-12 * (1 + b.cwiseAbs().template maxCoeff<Eigen::PropagateNaN>()))
        << what;
  };
  near("o", run.out.o, r.o);
  near("lse", run.out.lse, r.lse);
  near("dq", run.out.d.q, r.d.q);
  near("dk", run.out.d.k, r.d.k);
  near("dv", run.out.d.v, r.d.v);
  near("dtable", run.out.d_shared.table, r.d_shared.table);
  EXPECT_EQ(run.out.d_own.span(0, 0), 0);
}

A::Options layer_of(Index most, double ramp) {
  A::Options o{.d_model = 12, .heads = 4, .kv_heads = 2, .head_dim = 5, .value_dim = 3};
  o.policy.max_span = most;
  o.policy.ramp = ramp;
  return o;
}

/// Heads with spans of their own, the table owned by the layer: gradients of everything are the differences.
TEST(AdaptiveSpan, HeadsHaveTheirOwnSpans) {
  using L = heed::Owning<A>;
  const L layer(layer_of(16, 4));
  Random random(3);
  L::Params params = layer.init(random);
  const double parts[] = {0.02, 0.21, 0.55, 0.97};
  for (std::size_t h = 0; h < 4; ++h) params.own.heads[h].span(0, 0) = parts[h];
  const Batch batch = Batch::ragged({17, 0, 60});
  const Matrix<double> x = heed::random_normal<double>(random, 77, 12, 1),
                       w = heed::random_normal<double>(random, 77, 12, 1);
  L::Cache cache;
  L::Params gradient = heed::zeros_like(params);
  layer.forward(params, x, batch, cache);
  layer.backward(params, x, batch, cache, w, gradient);
  Index moved = 0;
  heed::for_each(
      [&](const std::string& path, Matrix<double>& m, const Matrix<double>& g) {
        for (Index i = 0; i < m.size(); i += path.find("span") == std::string::npos ? 7 : 1) {
          const double before = m.data()[i];
          m.data()[i] = before + 1e-5;
          const double above = (layer.forward(params, x, batch, cache).array() * w.array()).sum();
          m.data()[i] = before - 1e-5;
          const double difference = (above - (layer.forward(params, x, batch, cache).array() * w.array()).sum()) / 2e-5;
          m.data()[i] = before;
          EXPECT_NEAR(g.data()[i], difference, 1e-7 * std::max(1.0, std::abs(difference))) << path << "[" << i << "]";
          moved += std::abs(difference) > 1e-3 ? 1 : 0;
        }
      },
      params, gradient);
  EXPECT_GT(moved, 20);
}

TEST(AdaptiveSpan, HeadsPayForTheirOwnSpan) {
  const P policy({.max_span = 8192}, {64, 64, 2});
  const P::Params narrow{Matrix<double>::Constant(1, 1, 64.0 / 8192)}, wide{Matrix<double>::Constant(1, 1, 1)};
  const P::Shared shared;
  const P::Context context;
  const heed::CallShape call{16384, 16384};
  const double all = policy.cost(call).forward;
  EXPECT_EQ(policy.cost(heed::Head<P>{wide, shared, context, 0, 1}, call).forward, all);
  EXPECT_EQ(policy.cost(heed::Head<P>{narrow, shared, context, 0, 0}, call).forward,
            3.0 * 64 * (96 * 97 / 2 + (16384.0 - 96) * 96));
}

TEST(AdaptiveSpan, PenaltyAndClamp) {
  const P policy({.max_span = 50}, {4, 4, 3});
  std::vector<P::Params> heads(3), gradient(3);
  for (std::size_t h = 0; h < 3; ++h) {
    heads[h].span.setConstant(1, 1, 0.2 + 0.1 * double(h));
    gradient[h].span.setConstant(1, 1, 1);
  }
  const double lambda = 0.125;
  EXPECT_NEAR(policy.penalty(heads, lambda), lambda / 3 * (10 + 15 + 20), 1e-14);  // lambda / M sum z
  policy.penalty_backward(lambda, gradient);
  for (std::size_t h = 0; h < 3; ++h) {
    const double before = policy.penalty(heads, lambda);
    heads[h].span(0, 0) += 0.25;
    EXPECT_NEAR(gradient[h].span(0, 0) - 1, (policy.penalty(heads, lambda) - before) / 0.25, 1e-12);
  }
  EXPECT_EQ(policy.penalty({}, lambda), 0);
  heads[0].span(0, 0) = -0.3;
  heads[1].span(0, 0) = 1.75;
  heads[2].span(0, 0) = 0.5;
  P::clamp(heads);
  EXPECT_EQ(heads[0].span(0, 0), 0);
  EXPECT_EQ(heads[1].span(0, 0), 1);
  EXPECT_EQ(heads[2].span(0, 0), 0.5);
}

TEST(AdaptiveSpan, RefusesParametersThatAreNone) {
  const A layer(layer_of(16, 4));
  Random random(3);
  const A::Params good = layer.init(random);
  const A::Shared table = layer.init_shared(random);
  const Matrix<double> x = heed::random_normal<double>(random, 9, 12, 1);
  const Batch batch = Batch::one(9);
  A::Cache cache;
  const Matrix<double> y = layer.forward({good, table}, x, batch, cache);
  const auto refused = [&](const A::Params& params, const A::Shared& shared, const std::string& names) {
    A::Params gradient = heed::zeros_like(params);
    A::Shared d_table = heed::zeros_like(shared);
    const auto throws = [&](const auto& call) {
      try {
        call();
        ADD_FAILURE() << "accepted: " << names;
      } catch (const heed::ShapeError& e) {
        EXPECT_NE(std::string(e.what()).find(names), std::string::npos) << e.what();
      }
    };
    throws([&] { layer.forward({params, shared}, x, batch, cache); });
    EXPECT_TRUE(same_bits(cache.y.view(), y));
    throws([&] { layer.backward({params, shared}, x, batch, cache, x, {gradient, d_table}); });
    const auto is_zero = [](const Matrix<double>& g) { EXPECT_TRUE((g.array() == 0).all()); };
    heed::for_each_leaf(is_zero, gradient);
    heed::for_each_leaf(is_zero, d_table);
  };
  for (const double part : {-1e-6, 1.0001, std::numeric_limits<double>::quiet_NaN(),
                            std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}) {
    A::Params bad = good;
    bad.heads[2].span(0, 0) = part;
    refused(bad, table, "weights.heads.2.span");
  }
  A::Params bad = good;
  bad.heads[2].span.setZero(1, 2);
  refused(bad, table, "weights.heads.2.span");
  for (const auto& [rows, cols] : {std::pair<Index, Index>{15, 5}, {17, 5}, {16, 4}, {16, 6}, {0, 0}})
    refused(good, {Matrix<double>::Zero(rows, cols)}, "shared.table");
}

/// A stream far longer than the longest span, in chunks of any size, has the rows of the batch, and what it holds does
/// not depend on its length.
template <class L>
void long_stream(typename L::Options options, double tolerance) {
  const L layer(options);
  Random random(3);
  typename L::Params params = layer.init(random);
  heed::for_each_leaf([&](auto& m) { m = heed::random_normal<double>(random, m.rows(), m.cols(), 0.4); },
                      params.projection);
  if constexpr (std::is_same_v<L, A>)
    for (std::size_t h = 0; h < 4; ++h) params.heads[h].span(0, 0) = 0.1 + 0.29 * double(h);
  const typename L::Shared shared = layer.init_shared(random);
  const Index n = 1500, longest = 70;
  const Matrix<double> x = heed::random_normal<double>(random, n, 12, 1);
  typename L::Cache cache;
  const Matrix<double> y = layer.forward({params, shared}, x, Batch::one(n), cache);
  auto state = layer.start(1, n, longest);
  EXPECT_EQ(state.heads[0].room(), layer.start(1, 100 * n, longest).heads[0].room());
  EXPECT_LT(state.heads[0].room(), 2 * (options.policy.max_span + longest) + 64);
  const Batch chunk = Batch::one(longest);
  layer.step({params, shared}, state, x.topRows(longest), chunk);
  for (Index at = longest, round = 0; at < n; ++round) {
    const Index size = std::min(n - at, round % 3 == 0 ? Index{1} : random.below(longest + 1));
    const Batch batch = Batch::one(size);
    const Matrix<double> rows = x.middleRows(at, size);
    const long before = allocations::calls;
    const auto got = layer.step({params, shared}, state, rows, batch);
    EXPECT_EQ(allocations::calls, before);
    ASSERT_LT((got - y.middleRows(at, size)).cwiseAbs().sum(), tolerance) << at;
    at += size;
  }
}
TEST(AdaptiveSpan, LongStreams) {
  for (const bool zeros : {false, true}) {
    A::Options options = layer_of(100, 9);
    options.policy.zero_history = zeros;
    options.policy.sees_itself = !zeros;
    long_stream<A>(options, 1e-12);
    Attention<DynamicSpan<double>>::Options dynamic{.d_model = 12, .heads = 4, .kv_heads = 2, .head_dim = 5};
    dynamic.policy.max_span = 100;
    dynamic.policy.ramp = 9;
    dynamic.policy.zero_history = zeros;
    long_stream<Attention<DynamicSpan<double>>>(dynamic, 1e-12);
  }
}

}  // namespace
