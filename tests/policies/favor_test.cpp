// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <laws.hpp>
#include <policies/favor_cases.hpp>
#include <policies/favor_run.hpp>

const bool laws = register_laws<FavorFamily<heed::SoftmaxFeatures>>();

using heed::Favor;
using heed::Index;
using Doubles = heed::Matrix<double>;
using Floats = heed::Matrix<float>;

TEST(Favor, EqualKeysAndEqualValues) {
  const Doubles ones = Doubles::Ones(3, 1), v = Doubles::Identity(3, 3);
  const auto r = run<Favor<double>>({.features = 8, .causal = true}, ones, ones, v);
  for (Index i = 0; i < 3; ++i)
    for (Index j = 0; j < 3; ++j) EXPECT_NEAR(r.first(i, j), j <= i ? 1.0 / double(i + 1) : 0.0, 1e-15);

  heed::Random random(5);
  const Doubles q = heed::random_normal<double>(random, 70, 8, 2), k = heed::random_normal<double>(random, 90, 8, 2);
  for (const bool causal : {false, true}) {
    const Doubles same =
        run<Favor<double>>({.features = 20, .causal = causal}, q, k, Doubles(Doubles::Constant(90, 4, 0.75))).first;
    EXPECT_LT((same.array() - 0.75).abs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
  }
}

/// Coordinates of standard deviation 6 at d = 64 have logits of hundreds; the keys that a query sees may be those it
/// likes least of all. One reference for all features would find denominators of 0.
TEST(Favor, DenominatorsStayNormal) {
  const Index d = 64, n = 128;
  for (const float deviation : {0.1f, 1.0f, 3.0f, 4.0f, 6.0f, 30.0f}) {
    heed::Random random(6);
    const Floats q = heed::random_normal<float>(random, n, d, double(deviation)),
                 k = heed::random_normal<float>(random, n, d, double(deviation)),
                 v = heed::random_normal<float>(random, n, d, 1);
    for (const bool causal : {false, true}) {
      const auto r = run<Favor<float>>({.causal = causal}, q, k, v);
      const auto exact =
          run<Favor<double>>({.causal = causal, .directions = Favor<float>({}, {d, d, 1}).directions().cast<double>()},
                             Doubles(q.cast<double>()), Doubles(k.cast<double>()), Doubles(v.cast<double>()));
      const double size = 1 + double(deviation) * double(deviation) * 8 * 3;  // of an exponent
      EXPECT_LT((r.first.cast<double>() - exact.first).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 4e-6 * size)
          << deviation << causal;
      EXPECT_LT((r.second.cast<double>() - exact.second).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(),
                1e-6 * (4 + size))
          << deviation << causal;
    }
    const Floats opposite = -q.topRows(1);
    const auto r = run<Favor<float>>({}, Floats(q.topRows(1)), opposite, Floats(v.topRows(1)));
    EXPECT_LT((r.first - v.topRows(1)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-5) << deviation;
    EXPECT_TRUE(std::isfinite(r.second(0, 0)));
  }
}

/// Keys of falling norm, whose features e^(w.x - |x|^2 / 2) outgrow all before them by more than the slack of their
/// references, again and again.
template <class S>
void keys_outgrow_their_references(double deviation, bool gradients) {
  using P = Favor<S>;
  for (const auto& [queries, keys] : {std::pair<Index, Index>{150, 150}, {90, 170}, {170, 90}}) {
    Case<P> c;
    c.label = "deviation " + std::to_string(deviation);
    c.options = {.features = 24, .causal = true};
    c.shape = {16, 16, 1};
    c.call = {queries, keys};
    ::Run<P> whole(c, deviation);
    for (Index j = 0; j < keys; ++j) whole.in.fields.k.row(j) *= S(2.2) - S(2 * j) / S(keys);
    whole.forward(c);
    whole.backward(c);
    const auto expected = Cases<P>::answer(c, whole.in);
    Verdict v;
    MatchesOracle::compare<S>(v, c.label, "o", whole.out.o, expected.o, 8);
    MatchesOracle::compare<S>(v, c.label, "lse", whole.out.lse, expected.lse, 8);
    if (gradients) MatchesOracle::compare<S>(v, c.label, "dq", whole.out.d.q, expected.dq, 16);
    if (gradients) MatchesOracle::compare<S>(v, c.label, "dk", whole.out.d.k, expected.dk, 16);
    if (gradients) MatchesOracle::compare<S>(v, c.label, "dv", whole.out.d.v, expected.dv, 16);
    EXPECT_TRUE(v.ok) << v.log;
    for (const Index cut : {1, 2, 47, 49, 70, 89}) {  // the first rows alone have the same bits
      Case<P> prefix = c;
      prefix.call = {queries - cut, keys - cut};
      ::Run<P> part(prefix);
      part.in.fields.q = whole.in.fields.q.topRows(prefix.call.queries);
      part.in.fields.k = whole.in.fields.k.topRows(prefix.call.keys);
      part.in.fields.v = whole.in.fields.v.topRows(prefix.call.keys);
      part.forward(prefix);
      EXPECT_TRUE(same_bits(part.out.o, whole.out.o.topRows(prefix.call.queries))) << c.label << ", cut " << cut;
      EXPECT_TRUE(same_bits(part.out.lse, whole.out.lse.head(prefix.call.queries))) << c.label << ", cut " << cut;
    }
  }
}
TEST(Favor, KeysThatOutgrowTheirReferences) {
  keys_outgrow_their_references<double>(2, true);
  keys_outgrow_their_references<double>(6, true);
  // Further than a float can be raised to. (Gradients of keys of weight e^-80 are below what it holds.)
  keys_outgrow_their_references<float>(20, false);
}

TEST(Favor, StreamsDoNotGrow) {
  const Favor<float> policy({.causal = true}, {64, 64, 1});
  EXPECT_EQ(policy.start(1, 1).now.size(), policy.start(1000000, 1).now.size());
  EXPECT_EQ(policy.start(1, 1).before.size(), 0);
}
