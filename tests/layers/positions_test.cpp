// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/attention.hpp>
#include <heed/layers/positions.hpp>
#include <heed/policies/longformer.hpp>
#include <heed/policies/tiled.hpp>
#include <heed/projections/rotary.hpp>
#include <layers/check.hpp>

#include <complex>

using namespace heed;

namespace {

template <class S>
using RotaryAttention = Attention<Tiled<S>, Rotary<ProjectQkv<S>>>;
template <class S>
typename RotaryAttention<S>::Options rotary(RotaryPairs pairs, Index dims = 0, int threads = 1, bool causal = false,
                                            Index kv_heads = 2) {
  typename RotaryAttention<S>::Options o;
  o.d_model = 10;
  o.heads = 4;
  o.kv_heads = kv_heads;
  o.head_dim = 6;
  o.value_dim = 3;
  o.threads = threads;
  o.policy.causal = causal;
  o.projection = {.inner = {.bias = true}, .pairs = pairs, .dims = dims};
  return o;
}

}  // namespace

TEST(Sinusoids, Layouts) {
  // table(p, column) by its definition
  const Matrix<double> a = sinusoids<double>(50, 6), b = sinusoids<double>(50, 6, Sinusoids::halves),
                       c = sinusoids<double>(50, 6, Sinusoids::halves_to_base), odd = sinusoids<double>(9, 5);
  for (Index p = 0; p < 50; ++p)
    for (Index i = 0; i < 3; ++i) {
      const double angle = double(p) / std::pow(10000, double(2 * i) / 6),
                   other = double(p) / std::pow(10000, double(i) / 2);
      EXPECT_NEAR(a(p, 2 * i), std::sin(angle), 1e-14);
      EXPECT_NEAR(a(p, 2 * i + 1), std::cos(angle), 1e-14);
      EXPECT_NEAR(b(p, i), std::sin(angle), 1e-14);
      EXPECT_NEAR(b(p, 3 + i), std::cos(angle), 1e-14);
      EXPECT_NEAR(c(p, i), std::sin(other), 1e-14);
      EXPECT_NEAR(c(p, 3 + i), std::cos(other), 1e-14);
    }
  EXPECT_NEAR(odd(3, 4), std::sin(3 / std::pow(10000, 4.0 / 5)), 1e-14);
  EXPECT_EQ(sinusoids<float>(1, 2, Sinusoids::halves_to_base)(0, 1), 1);
}

TEST(Positions, AreLayers) {
  for (const bool learned : {true, false})
    check::all<Positions>(
        [&](auto s, int threads) {
          typename Positions<decltype(s)>::Options o{.d_model = 7, .longest = 300};
          o.learned = learned;
          o.threads = threads;
          return o;
        },
        7);
}

TEST(Positions, CountInEverySequenceAndStream) {
  check::Rig<Positions<double>> rig({.d_model = 4, .longest = 6});
  const Batch batch = Batch::padded({5, 2}, 6);
  const Matrix<double> x = check::tokens<double>(12, 4), y = rig.forward(x, batch);
  EXPECT_TRUE(y.row(3) == x.row(3) + rig.p.table.row(3));
  EXPECT_TRUE(y.row(7) == x.row(7) + rig.p.table.row(1));
  auto state = rig.layer.start(2, 6, 3);
  rig.layer.step(rig.weights(), state, x.topRows(3), Batch::ragged({3, 0}));
  const Matrix<double> next = rig.layer.step(rig.weights(), state, x.middleRows(3, 2), Batch::ragged({1, 1}));
  EXPECT_TRUE(next.row(0) == x.row(3) + rig.p.table.row(3));
  EXPECT_TRUE(next.row(1) == x.row(4) + rig.p.table.row(0));
  // Refused steps move nothing, not even in the layers before the one that would have refused.
  EXPECT_EQ(check::error<StateError>([&] {
              rig.layer.step(rig.weights(), state, x, Batch::ragged({3, 0}));
            }),
            "batch: room for 6 tokens, of which 4 are taken, came 3 more");
  EXPECT_EQ(check::error<StateError>([&] {
              rig.layer.step(rig.weights(), state, x, Batch::ragged({0, 4}));
            }),
            "batch: chunks of up to 3 tokens expected, came 4");
  const Matrix<double> last = rig.layer.step(rig.weights(), state, x.topRows(1), Batch::ragged({1, 0}));
  EXPECT_TRUE(last.row(0) == x.row(0) + rig.p.table.row(4));
}

TEST(Positions, BadInput) {
  EXPECT_EQ(check::error<OptionError>([] { Positions<float>({.d_model = 4, .longest = 0}); }),
            "options.longest: at least 1 expected, came 0");
  check::Rig<Positions<float>> rig({.d_model = 4, .longest = 3});
  EXPECT_EQ(check::error<ShapeError>([&] { rig.forward(check::tokens<float>(4, 4), Batch::one(4)); }),
            "batch.q[0]: sequences of up to longest = 3 tokens expected, came 4");
  EXPECT_EQ(check::error<StateError>([&] { rig.layer.start(1, 4); }),
            "start: a capacity of up to longest = 3 expected, came 4");
}

TEST(Rotary, IsALayer) {
  static_assert(Layer<RotaryAttention<float>> && StreamingLayer<RotaryAttention<float>>);
  for (const RotaryPairs pairs : {RotaryPairs::halves, RotaryPairs::interleaved})
    for (const Index dims : {0, 2}) {
      check::gradients<RotaryAttention<double>>(rotary<double>(pairs, dims, 2), 10);
      check::padding<RotaryAttention<float>>(rotary<float>(pairs, dims), 10);
      check::threads<RotaryAttention<float>>([&](int n) { return rotary<float>(pairs, dims, n); }, 10);
      check::memory<RotaryAttention<float>>(rotary<float>(pairs, dims), 10);
    }
}

/// Every pair is a complex number times e^(i position frequency); far positions too.
TEST(Rotary, TurnsPairsByTheirPosition) {
  const ProjectionShape shape{3, 3, 2, 1, 6, 2};
  for (const RotaryPairs pairs : {RotaryPairs::halves, RotaryPairs::interleaved})
    for (const Index dims : {6, 4, 2}) {
      const Rotary<ProjectQkv<double>> turned({.inner = {}, .pairs = pairs, .dims = dims}, shape);
      const ProjectQkv<double> plain({}, shape);
      Random random(1);
      const auto p = plain.init(random);
      const Matrix<double> x = check::tokens<double>(150, 3);
      const Batch batch = Batch::ragged({40, 110});
      Qkv<Buffer<double>> a, b;
      Workers workers;
      workers.prepare(1, turned.scratch(150, 150));
      plain.forward(p, view(x), view(x), batch, a, workers);
      turned.forward(p, view(x), view(x), batch, b, workers);
      const auto expect = [&](const Buffer<double>& from, const Buffer<double>& to) {
        for (Index row = 0; row < 150; ++row)
          for (Index c = 0; c < from.cols(); ++c) {
            const Index position = row < 40 ? row : row - 40, k = c % 6, half = dims / 2;
            double wanted = from.view()(row, c);
            if (k < dims) {
              const bool halves = pairs == RotaryPairs::halves;
              const Index j = halves ? k % half : k / 2, first = c - k + (halves ? j : 2 * j);
              const std::complex<double> z(from.view()(row, first), from.view()(row, first + (halves ? half : 1)));
              const std::complex<double> w =
                  z * std::polar(1.0, double(position) * std::pow(10000.0, -2.0 * double(j) / double(dims)));
              wanted = (halves ? k < half : k % 2 == 0) ? w.real() : w.imag();
            }
            ASSERT_NEAR(to.view()(row, c), wanted, 1e-12) << row << ", " << c;
          }
      };
      expect(a.q, b.q);
      expect(a.k, b.k);
      EXPECT_TRUE(check::same_bits(a.v.view(), b.v.view()));
    }
}

TEST(Rotary, DependsOnTheDistanceAlone) {
  // The same tokens further on in a stream see each other as before: both streams are shifted by 1000 positions.
  const auto options = rotary<double>(RotaryPairs::halves, 0, 1, true);
  check::Rig<RotaryAttention<double>> rig(options);
  const Matrix<double> x = check::tokens<double>(9, 10), y = rig.forward(x, Batch::one(9));
  auto state = rig.layer.start(1, 9, 4);
  Index at = 0;
  for (const Index n : {2, 4, 1, 0, 2}) {
    const Matrix<double> out = rig.layer.step(rig.weights(), state, x.middleRows(at, n), Batch::one(n));
    EXPECT_LE((out - y.middleRows(at, n)).norm(), 1e-12);
    at += n;
  }
  auto shifted = rig.layer.start(1, 9, 9);
  shifted.projection.sizes[0] = 1000;
  EXPECT_LE((rig.layer.step(rig.weights(), shifted, x, Batch::one(9)) - y).norm(), 1e-10);
}

/// Each of Longformer's two sets turns as it would alone, forward and backward.
TEST(Rotary, TurnsBothSetsOfFields) {
  using Two = ProjectLocalGlobal<double>;
  using One = ProjectQkv<double>;
  const ProjectionShape shape{3, 3, 2, 1, 6, 2};
  const Rotary<Two> both({}, shape);
  const Rotary<One> alone({}, shape);
  Random random(1);
  const Two::Params p{One({}, shape).init(random), One({}, shape).init(random)};
  const Matrix<double> x = check::tokens<double>(50, 3);
  const Batch batch = Batch::ragged({20, 30});
  Workers workers;
  workers.prepare(1, both.scratch(50, 50));
  LocalGlobal<Buffer<double>> fields;
  both.forward(p, view(x), view(x), batch, fields, workers);
  Two::Params g = zeros_like(p);
  Matrix<double> dx = Matrix<double>::Zero(50, 3), dx_alone = dx;
  LocalGlobal<Buffer<double>> dfields = fields;
  both.backward(p, view(x), view(x), batch, dfields, g, view(dx), view(dx), workers);
  const auto expect = [&](const One::Params& w, const Qkv<Buffer<double>>& got, const One::Params& dw) {
    Qkv<Buffer<double>> wanted;
    alone.forward(w, view(x), view(x), batch, wanted, workers);
    EXPECT_TRUE(check::same_bits(got.q.view(), wanted.q.view()) && check::same_bits(got.k.view(), wanted.k.view()) &&
                check::same_bits(got.v.view(), wanted.v.view()));
    One::Params g_alone = zeros_like(w);
    alone.backward(w, view(x), view(x), batch, wanted, g_alone, view(dx_alone), view(dx_alone), workers);
    for_each_leaf([](const auto& a, const auto& b) { EXPECT_TRUE(check::same_bits(a, b)); }, dw, g_alone);
  };
  expect(p.local, fields.local, g.local);
  expect(p.global, fields.global, g.global);
  EXPECT_LE((dx - dx_alone).norm(), 1e-12);
  using A = Attention<Longformer<double>, Rotary<Two>>;
  static_assert(StreamingLayer<A>);
  check::gradients<A>({.d_model = 8, .heads = 2, .policy = {.window = 3}}, 8);
}

TEST(Rotary, BadOptions) {
  for (const Index dims : {3, 8, -2})
    EXPECT_EQ(check::error<OptionError>([&] { RotaryAttention<float>(rotary<float>(RotaryPairs::halves, dims)); }),
              "options.projection.dims: an even number up to head_dim = 6, or 0 for an even head_dim, expected, came " +
                  std::to_string(dims));
}
