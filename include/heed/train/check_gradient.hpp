// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/params.hpp>
#include <heed/core/random.hpp>
#include <heed/core/require.hpp>
#include <heed/core/types.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

namespace heed {

/// The number where gradient and differences are furthest apart.
struct GradientCheck {
  double error = 0;  ///< |gradient - difference| / max(1, |gradient|, |difference|)
  std::string path;  ///< of the matrix
  Index row = 0, col = 0;
  double gradient = 0, difference = 0;
  Index checked = 0;  ///< numbers
};

struct GradientCheckOptions {
  double step = 1e-5;      ///< of the differences, times max(1, |number|)
  Index samples = 20;      ///< numbers per matrix; 0 for all
  std::uint64_t seed = 1;  ///< which numbers
};

/// Holds the gradient of your own layer or policy against central differences, (f(w + h) - f(w - h)) / 2h. `loss()` must
/// read `params` anew at each call and be smooth around them; `params` are moved and put back. Weights in double give
/// errors below 1e-7 where the gradient is right.
template <class T, class F>
GradientCheck check_gradient(T& params, const T& gradient, F&& loss, const GradientCheckOptions& options = {}) {
  require<OptionError>(options.step > 0 && std::isfinite(options.step),
                       "options.step: positive and finite expected, came ", options.step);
  require<OptionError>(options.samples >= 0, "options.samples: 0 for all, or more, expected, came ", options.samples);
  require<ShapeError>(same_shape(params, gradient), "gradient: the shapes of params expected");
  GradientCheck worst;
  Random random(options.seed);
  for_each(
      [&]<class S>(const std::string& path, Matrix<S>& w, const Matrix<S>& g) {
        const bool all = options.samples == 0 || w.size() <= options.samples;
        for (Index s = 0; s < (all ? w.size() : options.samples); ++s) {
          const Index i = all ? s : random.below(w.size());
          S& x = w.data()[i];
          const S kept = x;
          const double h = options.step * std::max(1.0, std::abs(static_cast<double>(kept)));
          x = static_cast<S>(static_cast<double>(kept) + h);
          const double above = static_cast<double>(x), f_above = static_cast<double>(loss());
          x = static_cast<S>(static_cast<double>(kept) - h);
          const double below = static_cast<double>(x), f_below = static_cast<double>(loss());
          x = kept;
          const double difference = (f_above - f_below) / (above - below), ours = static_cast<double>(g.data()[i]);
          const double error = std::abs(ours - difference) / std::max({1.0, std::abs(ours), std::abs(difference)});
          ++worst.checked;
          if (!std::isnan(worst.error) && !(error <= worst.error))  // NaN is the worst
            worst = {error,      path,         i / std::max<Index>(w.cols(), 1), i % std::max<Index>(w.cols(), 1), ours,
                     difference, worst.checked};
        }
      },
      params, gradient);
  return worst;
}

}  // namespace heed
