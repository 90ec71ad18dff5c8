// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/random.hpp>
#include <heed/core/types.hpp>

#include <algorithm>
#include <cmath>

namespace heed {

/// `m` random directions `[m, d]` for random features, rows w_r ~ N(0, I_d).
///
/// `orthogonal`: within each block of d rows they are orthogonal (Choromanski et al. 2020, section 2.4): less variance,
/// and each row alone is still normal. The rows are orthogonalised one after another (Gram and Schmidt, twice), so that
/// the factor R has a positive diagonal and the block is uniform among all rotations. A Householder QR without the
/// signs of R is not: its rows lean to one side, and the mean over draws is then not the softmax kernel.
/// `fixed_norms`: every row has the norm sqrt(d) instead of that of a normal vector.
template <class S>
Matrix<S> random_directions(Random random, Index m, Index d, bool orthogonal, bool fixed_norms) {
  Matrix<double> w(m, d);
  const auto normal = [&] {
    Vector<double> x(d);
    for (Index c = 0; c < d; ++c) x(c) = random.normal();
    return x;
  };
  for (Index r = 0; r < m; ++r) {
    Vector<double> x = normal();
    double norm = fixed_norms ? std::sqrt(static_cast<double>(d)) : x.norm();
    if (orthogonal) {
      if (!fixed_norms) norm = normal().norm();
      for (int pass = 0; pass < 2; ++pass)
        for (Index b = r - r % std::max<Index>(d, 1); b < r; ++b)
          x -= w.row(b).dot(x) / w.row(b).squaredNorm() * w.row(b).transpose();
    }
    w.row(r) = norm * x.normalized().transpose();
  }
  return w.cast<S>();
}

}  // namespace heed
