// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/dot_product.hpp>
#include <heed/kernels/exp2.hpp>
#include <heed/kernels/feature_maps.hpp>
#include <heed/kernels/register_tile.hpp>

#include <algorithm>
#include <cmath>
#include <limits>

namespace heed {

/// A feature map with its directions: rows x become rows of features, side by side in SIMD lanes, and back.
///
/// The features of the softmax kernel come as logarithms, y_r = log phi_r(x) + h, where h is what all features of a row
/// share (|x|^2 / 2): exponents that differ by thousands are then subtracted before they are raised. Those of other maps
/// come as they are.
template <class S, FeatureMap<S> Map>
class FeatureRows {
 public:
  static constexpr bool logarithmic = std::same_as<Map, SoftmaxFeatures>;

  /// For rows of width d, whose products are taken with the factor `scale`; `directions` [m, d] if the map projects.
  FeatureRows(const Map& map, const Matrix<S>& directions, S scale, Index d) : map_(map), d_(d), scale_(scale) {
    m_ = Map::projects ? directions.rows() : d;
    half_ = detail::packet_padded<S>(m_);
    if constexpr (logarithmic) copies_ = map.hyperbolic ? 2 : 1;
    if constexpr (Map::projects) {
      S factor = std::sqrt(scale);
      // Lanes beyond the last direction: features of exactly 0.
      bias_.setConstant(half_, -std::numeric_limits<S>::infinity());
      bias_.head(m_).setZero();
      if constexpr (logarithmic) {
        factor *= static_cast<S>(std::sqrt(1 - 4 * map.bound));
        const double common = static_cast<double>(d) / 4 * std::log1p(-4 * map.bound);
        for (Index r = 0; r < m_; ++r)
          bias_(r) = static_cast<S>(map.bound * directions.row(r).template cast<double>().squaredNorm() + common);
      }
      w_.setZero(m_, detail::packet_padded<S>(d));
      w_.leftCols(d) = factor * directions;
      wt_.setZero(d, half_);
      wt_.leftCols(m_) = (factor * directions).transpose();
    }
  }

  Index dim() const { return d_; }
  Index directions() const { return m_; }
  /// Features, and the stride from row to row: a whole number of packets, zeros where there is no feature.
  Index width() const { return m_ * copies_; }
  Index stride() const { return half_ * copies_; }
  /// What the products of features are divided by to be the kernel: an estimate is the mean over its features.
  Index count() const { return Map::projects ? width() : 1; }

  /// y [rows][stride]; the h of each row, which `with_norm` subtracts instead.
  void rows(const S* x, Index ld, Index rows, bool with_norm, S* y, S* h) const {
    if constexpr (logarithmic) {
      exponents(x, ld, rows, with_norm || map_.epsilon > 0, y, h);
      if (map_.epsilon > 0)
        for (Index i = 0; i < rows; ++i) add_epsilon(y + i * stride());
    } else {
      project(x, ld, rows, y);
      for (Index i = 0; i < rows; ++i, y += stride()) {
        h[i] = S(0);
        map_.map(y, m_);
        for (Index r = 0; r < m_; ++r)
          if (y[r] < S(0)) y[r] = std::numeric_limits<S>::quiet_NaN();
      }
    }
  }

  /// dx += ... for g [rows][stride], the cotangents of y (where y are logarithms) or of the features; g is used up.
  /// `u` [rows][stride] and `t` [rows][padded d] are scratch.
  void pull(const S* x, Index ld, Index rows, S* g, S* dx, Index ld_dx, S* u, S* t) const {
    using namespace detail;
    const Index padded = packet_padded<S>(d_);
    if constexpr (logarithmic) {
      if (map_.epsilon > 0) {  // y = log(e^b + epsilon), so db = dy / (1 + epsilon e^-b)
        exponents(x, ld, rows, true, u, t);
        for (Index i = 0; i < rows; ++i)
          for_each_feature(
              [&](Index r) { g[i * stride() + r] /= S(1) + std::exp(log_epsilon() - u[i * stride() + r]); });
      }
      for (Index i = 0; i < rows; ++i) {
        S* const row = g + i * stride();
        Packet<S> sum = broadcast(S(0));
        for (Index r = 0; r < stride(); r += lanes<S>) sum = padd(sum, load(row + r));
        u[i] = scale_ * sum_of_lanes<S>(sum);
        for (Index r = 0; r < half_ && copies_ == 2; r += lanes<S>)
          store<S>(row + r, psub(load(row + r), load(row + half_ + r)));
      }
    } else {
      project(x, ld, rows, u);
      for (Index i = 0; i < rows; ++i) map_.pull(u + i * stride(), g + i * stride(), m_);
    }
    if constexpr (Map::projects)
      tile_product<Operand::plain>(rows, padded / lanes<S>, m_, g, stride(), w_.data(), padded, t, padded, Start::zero);
    else
      for (Index i = 0; i < rows; ++i)
        for (Index e = 0; e < d_; ++e) t[i * padded + e] = std::sqrt(scale_) * g[i * stride() + e];
    for (Index i = 0; i < rows; ++i, x += ld, dx += ld_dx, t += padded) {
      const S by_norm = logarithmic ? u[i] : S(0);
      Index e = 0;
      for (; e + lanes<S> <= d_; e += lanes<S>) {
        Packet<S> sum = padd(load(dx + e), load(t + e));
        if constexpr (logarithmic) sum = psub(sum, pmul(broadcast(by_norm), load(x + e)));
        store<S>(dx + e, sum);
      }
      for (; e < d_; ++e) dx[e] += logarithmic ? t[e] - by_norm * x[e] : t[e];
    }
  }

 private:
  /// Calls f(r) for every place in a row that holds a feature.
  template <class F>
  void for_each_feature(F&& f) const {
    for (Index copy = 0; copy < copies_; ++copy)
      for (Index r = copy * half_; r < copy * half_ + m_; ++r) f(r);
  }
  S log_epsilon() const requires(logarithmic) { return static_cast<S>(std::log(map_.epsilon)); }
  /// u [rows][stride] = x W^T, or sqrt(scale) x.
  void project(const S* x, Index ld, Index rows, S* u) const {
    using namespace detail;
    if constexpr (Map::projects) {
      tile_product<Operand::plain>(rows, half_ / lanes<S>, d_, x, ld, wt_.data(), half_, u, stride(), Start::zero);
    } else {
      const S root = std::sqrt(scale_);
      for (Index i = 0; i < rows; ++i) {
        for (Index e = 0; e < d_; ++e) u[i * stride() + e] = root * x[i * ld + e];
        std::fill(u + i * stride() + d_, u + (i + 1) * stride(), S(0));
      }
    }
  }
  /// y = log phi + h without the epsilon, or log phi.
  void exponents(const S* x, Index ld, Index rows, bool with_norm, S* y, S* h) const requires(logarithmic) {
    using namespace detail;
    project(x, ld, rows, y);
    for (Index i = 0; i < rows; ++i, y += stride()) {
      const S norm = scale_ / 2 * dot_product(x + i * ld, x + i * ld, d_);
      h[i] = with_norm ? S(0) : norm;
      const Packet<S> less = broadcast(with_norm ? norm : S(0));
      for (Index r = 0; r < half_; r += lanes<S>) {
        const Packet<S> u = load(y + r), bias = psub(load(bias_.data() + r), less);
        store<S>(y + r, padd(bias, u));
        if (copies_ == 2) store<S>(y + half_ + r, psub(bias, u));
      }
    }
  }
  /// y = log(e^y + epsilon)
  void add_epsilon(S* y) const requires(logarithmic) {
    const S e = log_epsilon();
    for_each_feature([&](Index r) { y[r] = (y[r] > e ? y[r] : e) + std::log1p(std::exp(-std::abs(y[r] - e))); });
  }

  Map map_;
  Index d_, m_ = 0, half_ = 0, copies_ = 1;
  S scale_;
  Matrix<S> w_, wt_;
  Vector<S> bias_;
};

}  // namespace heed
