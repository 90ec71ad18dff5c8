// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/random.hpp>
#include <heed/core/require.hpp>
#include <heed/core/types.hpp>

#include <cmath>

namespace heed {

namespace detail {
inline void check_temperature(double temperature) {
  require<OptionError>(temperature >= 0 && std::isfinite(temperature),
                       "temperature: finite and not negative expected, came ", temperature);
}
}  // namespace detail

/// Draws a class with the probability softmax(scores / temperature); at temperature 0 takes the first of the largest
/// scores. A score of -inf is never drawn. `scores` is one row, or one column.
template <class Scores>
Index sample(const Eigen::MatrixBase<Scores>& scores, double temperature, Random& random) {
  require<ShapeError>(scores.size() >= 1, "scores: one or more expected, came none");
  detail::check_temperature(temperature);
  require<ShapeError>(scores.rows() == 1 || scores.cols() == 1, "scores: one row or one column expected, came [",
                      scores.rows(), ", ", scores.cols(), "]");
  const auto score = [&](Index i) { return static_cast<double>(scores.cols() == 1 ? scores(i, 0) : scores(0, i)); };
  Index top = 0;
  for (Index i = 0; i < scores.size(); ++i) {
    require<ShapeError>(!std::isnan(score(i)), "scores: numbers expected, came nan at ", i);
    if (score(i) > score(top)) top = i;
  }
  require<ShapeError>(std::isfinite(score(top)), "scores: a finite largest expected, came ", score(top));
  if (temperature == 0) return top;
  const auto weight = [&](Index i) { return std::exp((score(i) - score(top)) / temperature); };
  double left = 0;
  for (Index i = 0; i < scores.size(); ++i) left += weight(i);
  left *= random.uniform();
  for (Index i = 0; i < scores.size(); ++i)
    if ((left -= weight(i)) < 0) return i;
  return top;  // what rounding may leave
}

}  // namespace heed
