// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <gtest/gtest.h>
#include <allocations.hpp>
#include <heed/layers/layer.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

/// What holds for every layer, whatever it computes.

namespace check {

using heed::Batch, heed::Dropout, heed::Index, heed::Matrix;

template <class S>
Matrix<S> tokens(Index rows, Index columns, std::uint64_t seed = 3) {
  heed::Random random(seed);
  return heed::random_normal<S>(random, rows, columns, 1);
}
template <class A, class B>
bool same_bits(const A& a, const B& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  for (Index i = 0; i < a.rows(); ++i)
    for (Index j = 0; j < a.cols(); ++j) {
      const auto x = a(i, j), y = b(i, j);
      if (!(x == y || (x != x && y != y))) return false;
    }
  return true;
}

template <class L>
struct Rig {
  using S = typename L::Scalar;
  L layer;
  typename L::Params p, g;
  typename L::Shared shared, g_shared;
  typename L::Cache cache;
  typename L::Context context;
  Dropout dropout;

  explicit Rig(const typename L::Options& options, double deviation = 0.5) : layer(options) {
    heed::Random random(7);
    p = layer.init(random);
    shared = layer.init_shared(random);
    const auto draw = [&](auto& m) { m = heed::random_normal<S>(random, m.rows(), m.cols(), deviation); };
    if (deviation > 0) {
      heed::for_each_leaf(draw, p);
      heed::for_each_leaf(draw, shared);
    }
    clear();
  }
  void clear() {
    g = heed::zeros_like(p);
    g_shared = heed::zeros_like(shared);
  }
  heed::Weights<L> weights() const { return {p, shared}; }
  heed::Gradients<L> gradients() { return {g, g_shared}; }
  Matrix<S> forward(const Matrix<S>& x, const Batch& batch) {
    return heed::detail::forward(layer, weights(), x, batch, cache, context, dropout);
  }
  Matrix<S> replay(const Matrix<S>& x, const Batch& batch) {
    return heed::detail::replay(layer, weights(), x, batch, cache, context, dropout);
  }
  Matrix<S> backward(const Matrix<S>& x, const Batch& batch, const Matrix<S>& dy) {
    return heed::detail::backward(layer, weights(), x, batch, cache, dy, gradients(), context, dropout);
  }
};

/// The gradients of w.y are central differences, over a ragged and padded batch.
template <class L>
void gradients(const typename L::Options& options, Index columns, const Dropout& dropout = {},
               const Batch& batch = Batch::padded({4, 0, 3}, 5), double tolerance = 1e-7) {
  static_assert(std::same_as<typename L::Scalar, double>);
  Rig<L> rig(options);
  rig.dropout = dropout;
  const Index rows = batch.q.empty() ? 0 : batch.q.back().begin + batch.q.back().size + 1;
  Matrix<double> x = tokens<double>(rows, columns);
  const Matrix<double> y = rig.forward(x, batch), w = tokens<double>(y.rows(), y.cols(), 21);
  const Matrix<double> dx = rig.backward(x, batch, w);
  heed::Random random(5);
  const auto probe = [&](const std::string& path, Matrix<double>& m, const Matrix<double>& gradient) {
    for (int pick = 0; pick < 16 && m.size() > 0; ++pick) {
      const Index i = random.below(m.size());
      double& number = m.data()[i];
      const double before = number;
      number = before + 1e-5;
      const double above = (rig.replay(x, batch).array() * w.array()).sum();
      number = before - 1e-5;
      const double difference = (above - (rig.replay(x, batch).array() * w.array()).sum()) / 2e-5;
      number = before;
      EXPECT_NEAR(difference, gradient.data()[i], tolerance * std::max(1.0, std::abs(difference)))
          << path << "[" << i << "]";
    }
  };
  heed::for_each(probe, rig.p, rig.g);
  heed::for_each(probe, rig.shared, rig.g_shared);
  probe("x", x, dx);
}

/// What padding holds reaches nothing: NaN there leaves all bits as they are; y and dx are 0 there.
template <class L>
void padding(const typename L::Options& options, Index columns, const Dropout& dropout = {}) {
  using S = typename L::Scalar;
  Rig<L> clean(options), dirty(options);
  clean.dropout = dirty.dropout = dropout;
  const Batch batch = Batch::padded({4, 0, 3}, 6);
  Matrix<S> x = tokens<S>(18, columns), nan = x;
  const Matrix<S> y = clean.forward(x, batch);
  Matrix<S> dy = tokens<S>(18, y.cols(), 4), dy_nan = dy;
  const S never = std::numeric_limits<S>::quiet_NaN();
  const auto gap = [](Index i) { return !(i < 4 || (i >= 12 && i < 15)); };
  for (Index i = 0; i < 18; ++i)
    if (gap(i)) nan.row(i).setConstant(never), dy_nan.row(i).setConstant(never);
  EXPECT_TRUE(same_bits(dirty.forward(nan, batch), y));
  const Matrix<S> dx = clean.backward(x, batch, dy);
  EXPECT_TRUE(same_bits(dirty.backward(nan, batch, dy_nan), dx));
  heed::for_each([](const std::string& path, const auto& a, const auto& b) { EXPECT_TRUE(same_bits(a, b)) << path; },
                 clean.g, dirty.g);
  for (Index i = 0; i < 18; ++i)
    EXPECT_TRUE(!gap(i) || ((y.row(i).array() == 0).all() && (dx.row(i).array() == 0).all())) << i;
}

/// The same bits for any number of threads, and again; gradients add up.
template <class L, class Options>
void threads(const Options& options_for, Index columns, const Dropout& dropout = {}) {
  using S = typename L::Scalar;
  const Batch batch = Batch::ragged({130, 0, 7, 250});
  const Matrix<S> x = tokens<S>(390, columns);
  Rig<L> one(options_for(1));
  one.dropout = dropout;
  const Matrix<S> y = one.forward(x, batch), dy = tokens<S>(390, y.cols(), 4), dx = one.backward(x, batch, dy);
  for (const int n : {1, 2, 3, 8}) {
    Rig<L> many(options_for(n));
    many.dropout = dropout;
    for (int again = 0; again < 2; ++again) {
      many.clear();
      EXPECT_TRUE(same_bits(many.forward(x, batch), y)) << n;
      EXPECT_TRUE(same_bits(many.replay(x, batch), y)) << n;
      EXPECT_TRUE(same_bits(many.backward(x, batch, dy), dx)) << n;
      heed::for_each([&](const std::string& path, const auto& a,
                         const auto& b) { EXPECT_TRUE(same_bits(a, b)) << path << ", threads " << n; },
                     one.g, many.g);
      heed::for_each([&](const std::string& path, const auto& a,
                         const auto& b) { EXPECT_TRUE(same_bits(a, b)) << path << ", threads " << n; },
                     one.g_shared, many.g_shared);
    }
  }
  const typename L::Params once = one.g;
  one.backward(x, batch, dy);
  heed::for_each(
      [](const std::string& path, const auto& a, const auto& b) {
        EXPECT_TRUE(a.size() == 0 || (b - 2 * a).norm() <= S(1e-4) * (1 + a.norm())) << path;
      },
      once, one.g);
}

/// A call like an earlier one takes nothing from the heap.
template <class L>
void memory(const typename L::Options& options, Index columns, const Dropout& dropout = {}) {
  using S = typename L::Scalar;
  Rig<L> rig(options);
  const Matrix<S> x = tokens<S>(64, columns);
  const Matrix<S> y = rig.forward(x, Batch::ragged({40, 24})), dy = tokens<S>(64, y.cols(), 4);
  const auto call = [&](const Batch& batch) {
    heed::detail::forward(rig.layer, rig.weights(), x, batch, rig.cache, rig.context, dropout);
    heed::detail::backward(rig.layer, rig.weights(), x, batch, rig.cache, dy, rig.gradients(), rig.context, dropout);
  };
  call(Batch::ragged({40, 24}));
  for (const std::vector<Index>& n : {std::vector<Index>{40, 24}, {24, 40}, {10, 3}, {0, 1}}) {
    const Batch batch = Batch::ragged(n);
    const long before = allocations::calls;
    call(batch);
    EXPECT_EQ(allocations::calls, before);
  }
}

/// The message of the error that f throws.
template <class Error, class F>
std::string error(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no such error";
}

/// Wrong calls are named, and leave the gradients alone.
template <class L>
void bad_calls(const typename L::Options& options, Index columns) {
  using S = typename L::Scalar;
  Rig<L> rig(options);
  const Batch batch = Batch::one(4);
  const Matrix<S> x = tokens<S>(4, columns), wide = tokens<S>(4, columns + 1), y = rig.forward(x, batch);
  EXPECT_NE(error<heed::ShapeError>([&] { rig.forward(wide, batch); }).find("x: "), std::string::npos);
  EXPECT_NE(error<heed::ShapeError>([&] { rig.forward(x, Batch::one(5)); }).find("batch.q[0]"), std::string::npos);
  rig.forward(x, batch);
  const Matrix<S> narrow = tokens<S>(4, y.cols() + 1);
  EXPECT_NE(error<heed::ShapeError>([&] { rig.backward(x, batch, narrow); }).find("dy: [4, "), std::string::npos);
  EXPECT_NE(error<heed::StateError>([&] {
              rig.backward(x, Batch::ragged({1, 3}), y);
            }).find("batch"),
            std::string::npos);
  Rig<L> fresh(options);
  EXPECT_NE(error<heed::StateError>([&] { fresh.backward(x, batch, y); }).find("cache"), std::string::npos);
  bool any = false;
  heed::for_each_leaf([&](auto& m) { any = any || m.size() > 0; }, rig.p);
  if (any) {
    Rig<L> broken(options);
    broken.forward(x, batch);
    heed::for_each_leaf([](auto& m) { m.resize(m.rows() + 1, m.cols() + 1); }, broken.g);
    EXPECT_NE(error<heed::ShapeError>([&] { broken.backward(x, batch, y); }).find("gradients"), std::string::npos);
    heed::for_each_leaf([](auto& m) { m.resize(m.rows() + 1, m.cols() + 1); }, broken.p);
    EXPECT_NE(error<heed::ShapeError>([&] { broken.forward(x, batch); }).find("weights."), std::string::npos);
  }
  heed::for_each_leaf([](const auto& m) { EXPECT_TRUE((m.array() == 0).all()); }, rig.g);
}

/// All of it. `make(S, threads)` gives the options.
template <template <class> class L, class Make>
void all(const Make& make, Index columns, const Dropout& dropout = {}) {
  static_assert(heed::Layer<L<float>> && heed::Layer<L<double>>);
  gradients<L<double>>(make(double{}, 2), columns, dropout);
  padding<L<float>>(make(float{}, 2), columns, dropout);
  threads<L<float>>([&](int n) { return make(float{}, n); }, columns, dropout);
  memory<L<float>>(make(float{}, 1), columns, dropout);
  bad_calls<L<float>>(make(float{}, 1), columns);
}

}  // namespace check
