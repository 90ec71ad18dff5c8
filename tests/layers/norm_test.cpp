// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/layers/norm.hpp>
#include <layers/check.hpp>

using heed::Batch, heed::EpsilonIn, heed::Index, heed::Matrix;
using Real = long double;

namespace {

/// A norm of one row as its formula says it, in long double.
struct Formula {
  bool centered = false, length = false, outside = false;  // length: ScaleNorm and FixNorm
  Index counted = 0;
  Real epsilon = 0;
  template <class Row>
  std::vector<Real> operator()(const Row& x) const {
    const Index n = x.size();
    Real mean = 0, squares = 0;
    for (Index c = 0; centered && c < n; ++c) mean += Real(x(c)) / Real(n);
    for (Index c = 0; c < counted; ++c) squares += (Real(x(c)) - mean) * (Real(x(c)) - mean);
    const Real average = squares / Real(counted);
    const Real by = length    ? std::max(std::sqrt(squares), epsilon)
                    : outside ? std::sqrt(average) + epsilon
                              : std::sqrt(average + epsilon);
    std::vector<Real> u;
    for (Index c = 0; c < n; ++c) u.push_back((Real(x(c)) - mean) / by);
    return u;
  }
};

template <class L>
void expect_formula(const typename L::Options& options, const Formula& formula, const Matrix<typename L::Scalar>& x,
                    Real units) {
  using S = typename L::Scalar;
  check::Rig<L> rig(options, 0);
  const Real gain = std::is_same_v<L, heed::ScaleNorm<S>> ? std::sqrt(Real(x.cols())) : Real(1);
  const Matrix<S> y = rig.forward(x, Batch::one(x.rows()));
  const Real u = Real(std::numeric_limits<S>::epsilon()) / 2;
  for (Index i = 0; i < x.rows(); ++i) {
    const std::vector<Real> expected = formula(x.row(i));
    Real largest = 0;
    for (const Real e : expected) largest = std::max(largest, gain * std::abs(e));
    for (Index c = 0; c < x.cols(); ++c)
      ASSERT_LE(std::abs(Real(y(i, c)) - gain * expected[std::size_t(c)]), units * u * largest)
          << "row " << i << ", column " << c << " of " << x.cols();
  }
}

template <class S>
void expect_formulas(const Matrix<S>& x, Real units) {
  const Index d = x.cols();
  const auto small = [](double e) { return Real(S(e)); };
  expect_formula<heed::LayerNorm<S>>({.d_model = d}, {.centered = true, .counted = d, .epsilon = small(1e-5)}, x,
                                     units);
  expect_formula<heed::RmsNorm<S>>({.d_model = d}, {.counted = d, .epsilon = small(1e-6)}, x, units);
  expect_formula<heed::RmsNorm<S>>({.d_model = d, .epsilon = 1e-8, .epsilon_in = EpsilonIn::denominator},
                                   {.outside = true, .counted = d, .epsilon = small(1e-8)}, x, units);
  expect_formula<heed::RmsNorm<S>>({.d_model = d, .part = 0.3},
                                   {.counted = std::max<Index>(1, Index(0.3 * double(d))), .epsilon = small(1e-6)}, x,
                                   units);
  expect_formula<heed::ScaleNorm<S>>({.d_model = d}, {.length = true, .counted = d, .epsilon = small(1e-5)}, x, units);
  expect_formula<heed::FixNorm<S>>({.d_model = d}, {.length = true, .counted = d, .epsilon = small(1e-12)}, x, units);
}

}  // namespace

TEST(Norms, AreTheirFormulas) {
  for (const Index d : {1, 2, 3, 7, 16, 17, 64, 129, 512, 1000}) {
    Matrix<float> x = check::tokens<float>(40, d);
    if (d > 1) expect_formulas<float>(x, 4);
    expect_formulas<double>(check::tokens<double>(40, std::max<Index>(d, 2)), 4);
    // A poor guess of the mean; and the sum of squares is large from its first term on, so that every one of the adds
    // after it, at least 16 chains side by side, may round by half a unit.
    x.col(0).setConstant(100);
    if (d > 2) expect_formulas<float>(x, 4 + Real(d) / 32);
  }
}

TEST(Norms, HugeAndTinyRows) {
  for (const double size : {1e-44, 1e-38, 1e-25, 1e-12, 1e12, 1e18, 1e19, 1e25, 1e38}) {
    Matrix<float> x = check::tokens<float>(8, 65) * 0.3f;
    for (Index i = 0; i < x.size(); ++i) x.data()[i] = float(size * double(x.data()[i]));
    expect_formulas<float>(x, size < 1e-30 ? 1e7L : 6);  // there inputs and results are denormal
  }
  for (const double size : {1e-300, 1e-180, 1e180, 1e307})
    expect_formulas<double>(Matrix<double>(check::tokens<double>(8, 65) * (0.3 * size)), 6);
  // scaling a large row by a power of two changes no bit
  const Matrix<float> x = check::tokens<float>(3, 33) * 1024, huge = x * 0x1p80f;
  check::Rig<heed::FixNorm<float>> rig({.d_model = 33});
  EXPECT_TRUE(check::same_bits(rig.forward(x, Batch::one(3)), rig.forward(huge, Batch::one(3))));
}

TEST(Norms, ZeroRows) {
  const auto zero = [](auto layer_options, auto* type) {
    using L = std::remove_pointer_t<decltype(type)>;
    check::Rig<L> rig(layer_options, 0);
    const Matrix<float> x = Matrix<float>::Zero(2, 20), dy = check::tokens<float>(2, 20);
    EXPECT_TRUE((rig.forward(x, Batch::one(2)).array() == 0).all());
    EXPECT_TRUE(rig.backward(x, Batch::one(2), dy).allFinite());
    heed::for_each_leaf([](const auto& m) { EXPECT_TRUE(m.allFinite()); }, rig.g);
  };
  zero(heed::LayerNorm<float>::Options{.d_model = 20}, static_cast<heed::LayerNorm<float>*>(nullptr));
  zero(heed::RmsNorm<float>::Options{.d_model = 20}, static_cast<heed::RmsNorm<float>*>(nullptr));
  zero(heed::RmsNorm<float>::Options{.d_model = 20, .epsilon_in = EpsilonIn::denominator},
       static_cast<heed::RmsNorm<float>*>(nullptr));
  zero(heed::ScaleNorm<float>::Options{.d_model = 20}, static_cast<heed::ScaleNorm<float>*>(nullptr));
  zero(heed::FixNorm<float>::Options{.d_model = 20}, static_cast<heed::FixNorm<float>*>(nullptr));
}

TEST(LayerNorm, MeansLargeBesideTheDeviation) {
  for (const float mean : {1e3f, 1e4f, 1e5f}) {
    Matrix<float> x = check::tokens<float>(20, 512);
    x.array() += mean;
    expect_formula<heed::LayerNorm<float>>({.d_model = 512}, {.centered = true, .counted = 512, .epsilon = Real(1e-5f)},
                                           x, 8);
  }
}

TEST(LayerNorm, ConstantRowsAreTheShift) {
  for (const float constant : {0.0f, 1e-30f, 0.1f, 3.3f, 1e30f}) {
    check::Rig<heed::LayerNorm<float>> rig({.d_model = 37});
    const Matrix<float> x = Matrix<float>::Constant(1, 37, constant);
    EXPECT_TRUE(check::same_bits(rig.forward(x, Batch::one(1)), rig.p.shift)) << constant;
  }
}

TEST(Norms, NanStaysInItsRow) {
  check::Rig<heed::LayerNorm<float>> rig({.d_model = 19});
  Matrix<float> x = check::tokens<float>(3, 19);
  const Matrix<float> before = rig.forward(x, Batch::one(3));
  x(1, 18) = std::numeric_limits<float>::quiet_NaN();
  const Matrix<float> y = rig.forward(x, Batch::one(3));
  EXPECT_TRUE(y.row(1).array().isNaN().all());
  EXPECT_TRUE(check::same_bits(y.row(0), before.row(0)) && check::same_bits(y.row(2), before.row(2)));
}

TEST(Norms, AreLayers) {
  for (const Index d : {5, 16, 19}) {
    for (const bool shift : {true, false})
      check::all<heed::LayerNorm>(
          [&](auto s, int threads) {
            return typename heed::LayerNorm<decltype(s)>::Options{d, 1e-5, shift, threads};
          },
          d);
    for (const EpsilonIn in : {EpsilonIn::root, EpsilonIn::denominator})
      for (const double part : {1.0, 0.3})
        check::all<heed::RmsNorm>(
            [&](auto s, int threads) {
              return typename heed::RmsNorm<decltype(s)>::Options{
                  .d_model = d, .epsilon = 0.1, .epsilon_in = in, .part = part, .threads = threads};
            },
            d);
    for (const double epsilon : {1e-5, 1e3}) {  // the second divides by epsilon
      check::all<heed::ScaleNorm>(
          [&](auto s, int threads) {
            return typename heed::ScaleNorm<decltype(s)>::Options{d, epsilon, threads};
          },
          d);
      check::all<heed::FixNorm>(
          [&](auto s, int threads) {
            return typename heed::FixNorm<decltype(s)>::Options{d, epsilon, threads};
          },
          d);
    }
  }
}

TEST(Norms, BadOptions) {
  using heed::OptionError;
  EXPECT_EQ(check::error<OptionError>([] { heed::LayerNorm<float>({.d_model = 0}); }),
            "options.d_model: at least 1 expected, came 0");
  EXPECT_EQ(check::error<OptionError>([] { heed::LayerNorm<float>({.d_model = 4, .epsilon = 0}); }),
            "options.epsilon: a positive number expected, came 0");
  EXPECT_EQ(check::error<OptionError>([] { heed::RmsNorm<float>({.d_model = 4, .part = 1.5}); }),
            "options.part: (0, 1] expected, came 1.5");
  EXPECT_EQ(check::error<OptionError>([] { heed::ScaleNorm<float>({.d_model = 4, .threads = 0}); }),
            "options.threads: at least 1 expected, came 0");
}
