// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/attend.hpp>
#include <laws.hpp>
#include <policies/favor_cases.hpp>

/// Favor over other feature maps obeys the laws that a map can break.

/// A user's own: phi(x) = (w.x)^2 + 1 / 10.
struct Squares {
  static constexpr bool projects = true;
  template <class S>
  void map(S* row, heed::Index n) const {
    for (heed::Index i = 0; i < n; ++i) row[i] = row[i] * row[i] + S(0.1L);
  }
  template <class S>
  void pull(const S* u, S* row, heed::Index n) const {
    for (heed::Index i = 0; i < n; ++i) row[i] *= 2 * u[i];
  }
};
inline oracle::FeaturesOf features_of(const Squares&, const oracle::Grid& w, oracle::Real scale,
                                      const oracle::Grid& x) {
  return oracle::mapped_features(
      w, scale, x, [](oracle::Real u) { return std::pair<oracle::Real, oracle::Real>(u * u + 0.1L, 2 * u); });
}

template <class Law, class Map>
void obeys() {
  const Verdict v = Law::template check_family<FavorFamily<Map>>();
  EXPECT_TRUE(v.ok) << v.log;
}
template <class Map>
bool on(const char* name) {
  using Concerned = heed::TypeList<MatchesOracle, MatchesDifferences, ContainsNan, Causal, Deterministic,
                                   StreamingEqualsBatch, ReadsAnyLayout, RejectsBadInput, CostHolds>;
  const std::string suite = name;
  heed::for_each_type(Concerned{}, [&]<class Law>() { register_test(suite, Law::name, obeys<Law, Map>); });
  return true;
}
const bool relu = on<heed::ReluFeatures>("Relu");
const bool elu = on<heed::EluFeatures>("Elu");
const bool squares = on<Squares>("Squares");

/// Feature 0 is what a key's or query's first number says; the others are 1.
struct Told {
  static constexpr bool projects = false;
  template <class S>
  void map(S* row, heed::Index n) const {
    for (heed::Index i = 1; i < n; ++i) row[i] = S(1);
  }
  template <class S>
  void pull(const S*, S* row, heed::Index n) const {
    std::fill_n(row, n, S(0));
  }
};

/// No row is silently 0: a feature that is negative, infinite or NaN makes NaN of the rows that meet it.
TEST(FavorMaps, FeaturesThatAreNoneMakeNan) {
  using P = heed::Favor<double, Told>;
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double bad : {-0.5, infinity, -infinity, std::nan("")})
    for (const bool causal : {false, true}) {
      heed::Matrix<double> q = heed::Matrix<double>::Ones(60, 3), k = q, v = q;
      k(50, 0) = bad;
      q(20, 0) = bad;
      const P policy({.causal = causal}, {3, 3, 1});
      heed::HeadCache<P> cache;
      const auto r = heed::attend(policy, q, k, v, cache);
      for (heed::Index i = 0; i < 60; ++i) {
        const bool met = i == 20 || !causal || i >= 50;
        EXPECT_EQ(std::isnan(r.o(i, 1)), met) << bad << ", row " << i;
        EXPECT_EQ(std::isnan(r.lse(i)), met) << bad << ", row " << i;
      }
    }
}

TEST(FavorMaps, FeaturesThatAreAllZeroMakeNan) {
  using P = heed::Favor<double, heed::ReluFeatures>;
  heed::Matrix<double> w(1, 1), q(2, 1), k(1, 1);
  w << 1;
  q << -1, 1;
  k << 2;
  const P policy({.features = 1, .map = {.epsilon = 0}, .directions = w}, {1, 1, 1});
  heed::HeadCache<P> cache;
  const auto r = heed::attend(policy, q, k, k, cache);
  EXPECT_TRUE(std::isnan(r.o(0, 0)) && std::isnan(r.lse(0)));
  EXPECT_EQ(r.o(1, 0), 2);
}

/// O = phi(Q) (phi(K)^T V) / (phi(Q) sum phi(K)) with phi = elu + 1, no scale: Katharopoulos et al., equation 5.
TEST(FavorMaps, EluIsTheLinearTransformer) {
  heed::Random random(1);
  using M = heed::Matrix<double>;
  const M q = heed::random_normal<double>(random, 7, 4, 1), k = heed::random_normal<double>(random, 9, 4, 1),
          v = heed::random_normal<double>(random, 9, 3, 1);
  const auto phi = [](const M& x) -> M { return x.unaryExpr([](double u) { return u > 0 ? u + 1 : std::exp(u); }); };
  const M a = phi(q) * phi(k).transpose(), expected = a.rowwise().sum().cwiseInverse().asDiagonal() * (a * v);
  const heed::Favor<double, heed::EluFeatures> policy({}, {4, 3, 1});
  heed::HeadCache<heed::Favor<double, heed::EluFeatures>> cache;
  const auto r = heed::attend(policy, q, k, v, cache);
  EXPECT_LT((r.o - expected).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-14);
  EXPECT_LT((r.lse.array().exp() - a.rowwise().sum().array()).abs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
}
