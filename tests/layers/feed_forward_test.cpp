// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/layers/feed_forward.hpp>
#include <layers/check.hpp>

using heed::Activation, heed::Batch, heed::Dropout, heed::FeedForward, heed::Index, heed::Matrix;
using Real = long double;

namespace {

constexpr Activation activations[] = {Activation::relu, Activation::gelu, Activation::gelu_tanh, Activation::silu};

Real formula(Activation a, Real u) {
  switch (a) {
    case Activation::relu:
      return u > 0 ? u : 0;
    case Activation::gelu:
      return u * std::erfc(-u / std::sqrt(Real(2))) / 2;
    case Activation::gelu_tanh:
      return u / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(Real(-1))) * (u + Real(0.044715L) * u * u * u)));
    default:
      return u / (1 + std::exp(-u));
  }
}
Real slope(Activation a, Real u) {
  if (a == Activation::relu) return u > 0;
  const Real h = 1e-6L;
  return (formula(a, u + h) - formula(a, u - h)) / (2 * h);
}

template <class S>
S value_of(Activation a, S u, S& its_slope) {
  S v = 0;
  heed::detail::with_activation<S>(a, [&](auto f) {
    v = heed::detail::first_lane<S>(f.value(heed::detail::broadcast(u)));
    its_slope = heed::detail::first_lane<S>(f.slope(heed::detail::broadcast(u)));
  });
  return v;
}
template <class S>
void expect_activations() {
  for (const Activation a : activations)
    for (int i = -4000; i <= 4000; ++i) {
      const S u = S(i) / S(128);
      S d = 0;
      const S y = value_of(a, u, d);
      // A long double is compared with another way to compute it, which rounds as much.
      const Real eps = Real(std::numeric_limits<S>::epsilon()) * (std::is_same_v<S, Real> ? 2 : 1);
      // In the tails the error grows as that of e^(-u^2 / 2) does; there the values are small beside 1.
      EXPECT_LE(std::abs(Real(y) - formula(a, Real(u))),
                4 * eps * (std::abs(formula(a, Real(u))) + std::abs(Real(u)) / 64))
          << int(a) << " at " << u;
      EXPECT_LE(std::abs(Real(d) - slope(a, Real(u))), 6 * eps + 1e-11L)  // the difference's own error
          << "slope " << int(a) << " at " << u;
    }
}

auto options(Activation a, bool gated, bool bias = true, Index chunk = 0) {
  return [=](auto s, int threads) {
    return typename FeedForward<decltype(s)>::Options{7, 19, a, gated, bias, chunk, threads};
  };
}

}  // namespace

TEST(Activations, AreTheirFormulas) {
  expect_activations<float>();
  expect_activations<double>();
  expect_activations<long double>();
}

TEST(Activations, Extremes) {
  for (const Activation a : activations) {
    float d = 0;
    for (const float large : {90.f, 1e4f, 1e15f, 1e30f}) {
      EXPECT_EQ(value_of(a, large, d), large);
      EXPECT_EQ(d, 1.f) << int(a);
      EXPECT_LE(std::abs(value_of(a, -large, d)), 1e-6f);
      EXPECT_LE(std::abs(d), 1e-3f) << int(a) << " at " << -large;
    }
    EXPECT_EQ(value_of(a, 0.f, d), 0.f);
    EXPECT_EQ(d, a == Activation::relu ? 0.f : 0.5f);
    EXPECT_TRUE(std::isnan(value_of(a, std::numeric_limits<float>::quiet_NaN(), d)));
  }
}

TEST(FeedForward, IsItsFormula) {
  for (const Activation a : activations)
    for (const bool gated : {false, true}) {
      check::Rig<FeedForward<double>> rig(options(a, gated)(double{}, 1));
      const Matrix<double> x = check::tokens<double>(5, 7), y = rig.forward(x, Batch::one(5));
      const Matrix<double> value = (x * rig.p.w_value).rowwise() + rig.p.b_value.row(0);
      Matrix<double> hidden = value;
      if (gated) hidden = (x * rig.p.w_gate).rowwise() + rig.p.b_gate.row(0);
      for (Index i = 0; i < hidden.size(); ++i) hidden.data()[i] = double(formula(a, Real(hidden.data()[i])));
      if (gated) hidden.array() *= value.array();
      const Matrix<double> expected = (hidden * rig.p.w_out).rowwise() + rig.p.b_out.row(0);
      EXPECT_LE((y - expected).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
    }
}

TEST(FeedForward, IsALayer) {
  for (const Activation a : activations)
    for (const bool gated : {false, true}) {
      check::all<FeedForward>(options(a, gated), 7);
      check::gradients<FeedForward<double>>(options(a, gated, false, 2)(double{}, 1), 7, {.rate = 0.3, .seed = 5});
    }
  check::all<FeedForward>(options(Activation::gelu, true, true, 3), 7, {.rate = 0.4, .seed = 1, .step = 2});
  check::all<FeedForward>(options(Activation::relu, false, false), 7, {.rate = 0.4, .seed = 1, .step = 2});
}

TEST(FeedForward, ChunksChangeNoBit) {
  const Matrix<float> x = check::tokens<float>(70, 7), dy = check::tokens<float>(70, 7, 9);
  const Batch batch = Batch::padded({40, 3, 20}, 22 + 20);
  const Matrix<float> long_x = check::tokens<float>(126, 7), long_dy = check::tokens<float>(126, 7, 9);
  for (const bool gated : {false, true}) {
    check::Rig<FeedForward<float>> whole(options(Activation::silu, gated)(float{}, 1));
    whole.dropout = {.rate = 0.2, .seed = 8};
    const Matrix<float> y = whole.forward(long_x, batch), dx = whole.backward(long_x, batch, long_dy);
    for (const Index chunk : {1, 3, 16, 64, 1000}) {
      check::Rig<FeedForward<float>> cut(options(Activation::silu, gated, true, chunk)(float{}, 2));
      cut.dropout = whole.dropout;
      EXPECT_TRUE(check::same_bits(cut.forward(long_x, batch), y)) << chunk;
      EXPECT_TRUE(check::same_bits(cut.backward(long_x, batch, long_dy), dx)) << chunk;
      heed::for_each([&](const std::string& path, const auto& a,
                         const auto& b) { EXPECT_TRUE(check::same_bits(a, b)) << path << ", chunk " << chunk; },
                     whole.g, cut.g);
      EXPECT_LE(cut.cache.hidden.bytes(), std::size_t(std::min<Index>(chunk, 40)) * 19 * sizeof(float));
    }
  }
}

TEST(FeedForward, Defaults) {
  EXPECT_EQ(FeedForward<float>({.d_model = 6}).options().d_ff, 24);
  EXPECT_EQ(FeedForward<float>({.d_model = 512, .gated = true}).options().d_ff, 1368);
  EXPECT_EQ(FeedForward<float>({.d_model = 3, .gated = true}).options().d_ff, 8);
}

TEST(FeedForward, BadOptions) {
  using heed::OptionError;
  EXPECT_EQ(check::error<OptionError>([] { FeedForward<float>({.d_model = 0}); }),
            "options.d_model: at least 1 expected, came 0");
  EXPECT_EQ(check::error<OptionError>([] { FeedForward<float>({.d_model = 4, .d_ff = -1}); }),
            "options.d_ff: 0 (the usual multiple of d_model) or more expected, came -1");
  EXPECT_EQ(check::error<OptionError>([] { FeedForward<float>({.d_model = 4, .chunk_tokens = -2}); }),
            "options.chunk_tokens: 0 (no chunks) or more expected, came -2");
  check::Rig<FeedForward<float>> rig({.d_model = 4});
  rig.dropout.rate = 1;
  EXPECT_EQ(check::error<OptionError>([&] { rig.forward(check::tokens<float>(2, 4), Batch::one(2)); }),
            "dropout.rate: [0, 1) expected, came 1");
  rig.dropout = {.rate = 0.5, .seed = 1};
  rig.forward(check::tokens<float>(2, 4), Batch::one(2));
  rig.dropout.step = 1;
  EXPECT_EQ(check::error<heed::StateError>(
                [&] { rig.backward(check::tokens<float>(2, 4), Batch::one(2), check::tokens<float>(2, 4)); }),
            "dropout: the last forward with this cache had another");
}
