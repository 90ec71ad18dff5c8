// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/require.hpp>
#include <heed/core/types.hpp>

#include <cmath>
#include <concepts>

/// Feature maps of linear attention: phi(x) >= 0 with kernel(q, k) = phi(q).phi(k) in place of e^(q.k).

namespace heed {

/// Positive random features of the softmax kernel: phi_r(x) = e^(w_r.x - |x|^2 / 2) for normal w_r, whose products have
/// the mean e^(x.y) (Performer, arXiv 2009.14794, lemma 1). Their exponents are stabilised where they are used.
struct SoftmaxFeatures {
  bool hyperbolic = false;  ///< both e^(+w_r.x) and e^(-w_r.x) for each direction: twice the features, less variance
  double bound = 0;  ///< A < 1/8 of FAVOR++ (arXiv 2205.15317): (1 - 4A)^(d/4) e^(A |w|^2 + sqrt(1 - 4A) w.x - |x|^2 /
                     ///< 2), bounded in w where A < 0; see `optimal_bound`
  double epsilon = 0;  ///< added to every feature, which adds a bias: a part of uniform attention. Slow

  static constexpr bool projects = true;
  void check() const {
    require<OptionError>(std::isfinite(bound) && bound < 0.125, "options.map.bound: below 1/8 expected, came ", bound);
    require<OptionError>(std::isfinite(epsilon) && epsilon >= 0, "options.map.epsilon: 0 or more expected, came ",
                         epsilon);
  }
};

/// Softmax features, or a map of the user's own:
///
/// - `projects`: whether it works on u = W x with random directions W; otherwise on u = x itself.
/// - `map(row, n)`: in place, from n numbers u to n features. They must not be negative.
/// - `pull(u, row, n)`: in place, from the cotangents of the features to those of u.
/// - `check()`, if there is one, throws OptionError.
template <class T, class S>
concept FeatureMap = std::same_as<T, SoftmaxFeatures> ||
    (std::copy_constructible<T>&& requires(const T t, const S* u, S* row, Index n) {
      { T::projects } -> std::convertible_to<bool>;
      t.map(row, n);
      t.pull(u, row, n);
    });

/// The bound of least variance for rows whose |q + k|^2 has this mean (scaled rows: sqrt(scale) q and sqrt(scale) k):
/// Likhosherstov et al. 2022, arXiv 2205.15317. It is data: fix it before training or decoding.
inline double optimal_bound(double mean_square, Index d) {
  const double n = static_cast<double>(d), x = 2 * mean_square;
  const double rho = mean_square > 0 ? (std::sqrt((x + n) * (x + n) + 4 * n * x) - x - n) / (2 * x) : 1;
  return (1 - 1 / rho) / 8;
}

/// phi_r(x) = max(w_r.x, 0) + epsilon: Performer's generalised attention.
struct ReluFeatures {
  double epsilon = 1e-3;

  static constexpr bool projects = true;
  void check() const {
    require<OptionError>(std::isfinite(epsilon) && epsilon >= 0, "options.map.epsilon: 0 or more expected, came ",
                         epsilon);
  }
  template <class S>
  void map(S* row, Index n) const {
    for (Index i = 0; i < n; ++i) row[i] = (row[i] < S(0) ? S(0) : row[i]) + static_cast<S>(epsilon);
  }
  template <class S>
  void pull(const S* u, S* row, Index n) const {
    for (Index i = 0; i < n; ++i) row[i] = u[i] < S(0) ? S(0) : row[i];
  }
};

/// phi(x) = elu(x) + 1: x + 1 above 0, e^x below. Linear transformers (Katharopoulos et al. 2020, arXiv 2006.16236).
struct EluFeatures {
  static constexpr bool projects = false;
  template <class S>
  void map(S* row, Index n) const {
    for (Index i = 0; i < n; ++i) row[i] = row[i] > S(0) ? row[i] + S(1) : std::exp(row[i]);
  }
  template <class S>
  void pull(const S* u, S* row, Index n) const {
    for (Index i = 0; i < n; ++i)
      if (!(u[i] > S(0))) row[i] *= std::exp(u[i]);
  }
};

}  // namespace heed
