// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/require.hpp>
#include <heed/projections/convolved_qkv.hpp>
#include <heed/projections/qkv.hpp>

#include <limits>

using namespace heed;

namespace {
using C = ConvolveQkv<double>;
constexpr ProjectionShape shape{.d_model = 5, .d_memory = 5, .heads = 4, .kv_heads = 2, .key_dim = 3, .value_dim = 2};

struct Made {
  C projection;
  C::Params params;
  Workers workers;
  Qkv<Buffer<double>> fields;
  explicit Made(Index kernel) : projection({.bias = true, .kernel = kernel}, shape) {
    Random random(1);
    params = projection.init(random);
    for_each_leaf([&](auto& m) { m = random_normal<double>(random, m.rows(), m.cols(), 1); }, params);
  }
  void forward(const Matrix<double>& x, const Batch& batch) {
    projection.forward(params, view(x), view(x), batch, fields, workers);
  }
};
Matrix<double> tokens(Index n) {
  Random random(2);
  return random_normal<double>(random, n, 5, 1);
}
}  // namespace

TEST(ConvolveQkv, IsTheSumOfItsDefinition) {
  const Batch batch{{{1, 7}, {8, 0}, {8, 2}, {12, 5}}, {{1, 7}, {8, 0}, {8, 2}, {12, 5}}};
  Matrix<double> x = tokens(18);
  for (const Index pad : {0, 10, 11, 17}) x.row(pad).setConstant(std::numeric_limits<double>::quiet_NaN());
  for (const Index kernel : {1, 2, 4, 9}) {
    Made m(kernel);
    m.forward(x, batch);
    for (const Segment s : batch.q)
      for (Index t = 0; t < s.size; ++t) {
        Eigen::RowVectorXd q = m.params.bq, k = m.params.bk;
        for (Index tau = 0; tau < kernel; ++tau)
          if (const Index from = t - kernel + 1 + tau; from >= 0) {
            q += x.row(s.begin + from) * m.params.wq.middleRows(tau * 5, 5);
            k += x.row(s.begin + from) * m.params.wk.middleRows(tau * 5, 5);
          }
        const Eigen::RowVectorXd v = x.row(s.begin + t) * m.params.wv + m.params.bv;
        EXPECT_LE((q - m.fields.q.view().row(s.begin + t)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
        EXPECT_LE((k - m.fields.k.view().row(s.begin + t)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
        EXPECT_LE((v - m.fields.v.view().row(s.begin + t)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-13);
      }
  }
}

TEST(ConvolveQkv, OfOneTokenIsProjectQkv) {
  const Batch batch = Batch::ragged({4, 9});
  const Matrix<double> x = tokens(13);
  Made m(1);
  m.forward(x, batch);
  const ProjectQkv<double> plain({.bias = true}, shape);
  plain.check(m.params);
  Qkv<Buffer<double>> fields;
  plain.forward(m.params, view(x), view(x), batch, fields, m.workers);
  EXPECT_EQ(Matrix<double>(fields.q.view()), Matrix<double>(m.fields.q.view()));
  EXPECT_EQ(Matrix<double>(fields.k.view()), Matrix<double>(m.fields.k.view()));
  EXPECT_EQ(Matrix<double>(fields.v.view()), Matrix<double>(m.fields.v.view()));
}

TEST(ConvolveQkv, ChunksOfAnySizeEqualTheWhole) {
  const Index n[2] = {23, 17};
  const Matrix<double> x = tokens(40);
  for (const Index kernel : {1, 2, 5, 9}) {
    Made m(kernel);
    m.forward(x, Batch::ragged({n[0], n[1]}));
    const Matrix<double> q = m.fields.q.view(), k = m.fields.k.view(), v = m.fields.v.view();
    Random random(static_cast<std::uint64_t>(kernel));
    C::State state = m.projection.start(2);
    Index at[2] = {0, 0};
    while (at[0] < n[0] || at[1] < n[1]) {
      Index size[2];
      for (const int s : {0, 1}) size[s] = std::min(random.below(12), n[s] - at[s]);
      Matrix<double> chunk(size[0] + size[1], 5);
      chunk << x.middleRows(at[0], size[0]), x.middleRows(n[0] + at[1], size[1]);
      m.projection.step(m.params, state, view(std::as_const(chunk)), Batch::ragged({size[0], size[1]}), m.fields,
                        m.workers);
      for (const int s : {0, 1})
        for (Index i = 0; i < size[s]; ++i) {
          const Index row = s * size[0] + i, whole = s * n[0] + at[s] + i;
          EXPECT_LE((m.fields.q.view().row(row) - q.row(whole)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(),
                    1e-13);
          EXPECT_LE((m.fields.k.view().row(row) - k.row(whole)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(),
                    1e-13);
          EXPECT_LE((m.fields.v.view().row(row) - v.row(whole)).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(),
                    1e-13);
        }
      for (const int s : {0, 1}) at[s] += size[s];
    }
  }
}

TEST(ConvolveQkv, GradientsAreDifferences) {
  const Batch batch = Batch::padded({4, 0, 7, 1}, 8);
  for (const Index kernel : {1, 3, 6}) {
    Made m(kernel);
    Matrix<double> x = tokens(32);
    m.forward(x, batch);
    Qkv<Buffer<double>> w;  // the fields, each weighed by a number
    Random random(3);
    const auto weigh = [&](const Buffer<double>& field, Buffer<double>& to) {
      to.resize(field.rows(), field.cols()) = random_normal<double>(random, field.rows(), field.cols(), 1);
    };
    weigh(m.fields.q, w.q);
    weigh(m.fields.k, w.k);
    weigh(m.fields.v, w.v);
    const auto loss = [&] {
      m.forward(x, batch);
      double sum = 0;
      for (const Segment s : batch.q)
        for (Index t = s.begin; t < s.begin + s.size; ++t)
          sum += m.fields.q.view().row(t).dot(w.q.view().row(t)) + m.fields.k.view().row(t).dot(w.k.view().row(t)) +
                 m.fields.v.view().row(t).dot(w.v.view().row(t));
      return sum;
    };
    C::Params g = zeros_like(m.params);
    Matrix<double> dx = Matrix<double>::Zero(32, 5);
    m.projection.backward(m.params, view(std::as_const(x)), view(std::as_const(x)), batch, w, g, view(dx), view(dx),
                          m.workers);
    const auto probe = [&](const std::string& path, Matrix<double>& numbers, const Matrix<double>& gradient) {
      for (Index i = 0; i < numbers.size(); ++i) {
        double& number = numbers.data()[i];
        const double before = number;
        number = before + 1e-3;  // the loss is linear in each
        const double above = loss();
        number = before - 1e-3;
        const double difference = (above - loss()) / 2e-3;
        number = before;
        EXPECT_NEAR(difference, gradient.data()[i], 1e-9) << path << "[" << i << "], kernel " << kernel;
      }
    };
    for_each(probe, m.params, g);
    probe("x", x, dx);
  }
}

TEST(ConvolveQkv, RefusesAnEmptyKernel) {
  EXPECT_THROW(C({.kernel = 0}, shape), OptionError);
  EXPECT_THROW(C({.kernel = -2}, shape), OptionError);
  Made m(3);
  EXPECT_THROW(C({.bias = true, .kernel = 2}, shape).check(m.params), ShapeError);
}
