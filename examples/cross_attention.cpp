// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>

/// Cross-attention: queries of one sequence read the memory of another, which may have another length and another
/// width.
int main() {
  using Attention = heed::Attention<heed::Tiled<float>>;
  const Attention attention({.d_model = 48, .d_memory = 20, .heads = 4});
  heed::Random random(1);
  const Attention::Params params = attention.init(random);

  // Two pairs: 5 queries over 9 rows of memory, and 3 over 2.
  const heed::Batch batch = heed::Batch::cross(heed::Batch::ragged({5, 3}), heed::Batch::ragged({9, 2}));
  const heed::Matrix<float> x = heed::random_normal<float>(random, 8, 48, 1.0);
  const heed::Matrix<float> memory = heed::random_normal<float>(random, 11, 20, 1.0);

  Attention::Cache cache;
  const heed::Matrix<float> y = attention.forward(params, x, memory, batch, cache);
  Attention::Params gradient = heed::zeros_like(params);
  const auto [dx, dmemory] = attention.backward(params, x, memory, batch, cache, y, gradient);
  std::cout << "|y| = " << y.norm() << ", |dx| = " << dx.norm() << ", |dmemory| = " << dmemory.norm() << "\n";
  return dmemory.rows() == 11 && dmemory.cols() == 20 ? 0 : 1;
}
