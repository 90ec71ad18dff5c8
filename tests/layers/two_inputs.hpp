// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/params.hpp>
#include <heed/train/check_gradient.hpp>
#include <layers/check.hpp>

/// What holds for every layer of two inputs, x and what it reads.

namespace check {

/// Such a layer as one of a single input, for the tests of these: rows of x and rows to read lie side by side, the first
/// `width` columns being those to read.
template <class L, Index width>
class Beside {
 public:
  using Scalar = typename L::Scalar;
  using S = Scalar;
  using Options = typename L::Options;
  using Params = typename L::Params;
  using Shared = typename L::Shared;
  using Context = typename L::Context;
  struct Cache {
    typename L::Cache inner;
    heed::Buffer<S> dx;
    heed::ConstView<S> result() const { return inner.result(); }
  };
  explicit Beside(const Options& options) : layer_(options) {}
  Params init(heed::Random& random) const { return layer_.init(random); }
  Shared init_shared(heed::Random& random) const { return layer_.init_shared(random); }
  template <class X>
  heed::ConstView<S> forward(heed::Weights<Beside> w, const Eigen::MatrixBase<X>& x, const Batch& batch, Cache& c,
                             const Context& context = {}, const Dropout& dropout = {}) const {
    return layer_.forward({w.own, w.shared}, own(x), read(x), batch, c.inner, context, dropout);
  }
  template <class X>
  heed::ConstView<S> replay(heed::Weights<Beside> w, const Eigen::MatrixBase<X>& x, const Batch& batch, Cache& c,
                            const Context& context = {}, const Dropout& dropout = {}) const {
    return layer_.replay({w.own, w.shared}, own(x), read(x), batch, c.inner, context, dropout);
  }
  template <class X, class Y>
  heed::ConstView<S> backward(heed::Weights<Beside> w, const Eigen::MatrixBase<X>& x, const Batch& batch, Cache& c,
                              const Eigen::MatrixBase<Y>& dy, heed::Gradients<Beside> g, const Context& context = {},
                              const Dropout& dropout = {}) const {
    const auto [dx, dread] =
        layer_.backward({w.own, w.shared}, own(x), read(x), batch, c.inner, dy, {g.own, g.shared}, context, dropout);
    heed::View<S> both = c.dx.resize(x.rows(), x.cols());
    both.leftCols(width) = dread;
    both.rightCols(dx.cols()) = dx;
    return std::as_const(c.dx).view();
  }

 private:
  template <class X>
  static heed::ConstView<S> read(const Eigen::MatrixBase<X>& x) {
    return heed::block(heed::front_door<S>(x, "x"), 0, 0, x.rows(), width);
  }
  template <class X>
  static heed::ConstView<S> own(const Eigen::MatrixBase<X>& x) {
    return heed::block(heed::front_door<S>(x, "x"), 0, width, x.rows(), x.cols() - width);
  }
  L layer_;
};

/// All that a layer learned and both of its inputs: what has a gradient.
template <class L>
struct Inputs {
  typename L::Params own;
  typename L::Shared shared;
  Matrix<typename L::Scalar> x, read;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("own", x.own...);
    f("shared", x.shared...);
    f("x", x.x...);
    f("read", x.read...);
  }
};

/// The gradients of w.y are central differences, whatever the lengths on either side.
template <class L>
void differences(const typename L::Options& options, Index columns, Index read_columns, const Batch& batch,
                 const Dropout& dropout = {}) {
  const L layer(options);
  const typename L::Context context{};
  heed::Random random(7);
  const auto rows = [](const std::vector<heed::Segment>& s) { return s.back().begin + s.back().size + 1; };
  Inputs<L> in{layer.init(random), layer.init_shared(random), tokens<double>(rows(batch.q), columns),
               tokens<double>(rows(batch.k), read_columns, 5)};
  const auto draw = [&](auto& m) { m = heed::random_normal<double>(random, m.rows(), m.cols(), 0.5); };
  heed::for_each_leaf(draw, in.own);
  heed::for_each_leaf(draw, in.shared);
  Inputs<L> g = heed::zeros_like(in);
  typename L::Cache cache;
  const heed::Weights<L> weights(in.own, in.shared);
  const Matrix<double> y = layer.forward(weights, in.x, in.read, batch, cache, context, dropout),
                       w = tokens<double>(y.rows(), y.cols(), 6);
  const auto [dx, dread] =
      layer.backward(weights, in.x, in.read, batch, cache, w, heed::Gradients<L>(g.own, g.shared), context, dropout);
  g.x = dx;
  g.read = dread;
  const heed::GradientCheck found = heed::check_gradient(in, g, [&] {
    return (layer.replay(weights, in.x, in.read, batch, cache, context, dropout).array() * w.array()).sum();
  });
  EXPECT_LT(found.error, 1e-7) << found.path << "(" << found.row << ", " << found.col << "): " << found.gradient
                               << ", by differences " << found.difference;
}

}  // namespace check
