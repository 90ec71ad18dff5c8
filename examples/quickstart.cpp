// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>

int main() {
  using Attention = heed::Attention<heed::Tiled<float>>;
  const Attention attention({.d_model = 64, .heads = 8, .kv_heads = 2, .policy = {.causal = true}});

  heed::Random random(1);
  const Attention::Params params = attention.init(random);

  // Two sequences of 30 and 20 tokens, one below the other; no padding, no mask.
  const heed::Batch batch = heed::Batch::ragged({30, 20});
  const heed::Matrix<float> x = heed::random_normal<float>(random, 50, 64, 1.0);

  Attention::Cache cache;  // every buffer of a call; use it again and nothing is allocated
  const heed::Matrix<float> y = attention.forward(params, x, batch, cache);

  // Exact gradients of 0.5 |y|^2: a gradient is a Params too.
  Attention::Params gradient = heed::zeros_like(params);
  const heed::Matrix<float> dx = attention.backward(params, x, batch, cache, y, gradient);

  // The first sequence again, token by token: the same rows.
  Attention::State state = attention.start(/*sequences=*/1, /*capacity=*/30);
  float difference = 0;
  for (heed::Index t = 0; t < 30; ++t) {
    const heed::Matrix<float> row = attention.step(params, state, x.middleRows(t, 1), heed::Batch::one(1));
    difference = std::max(difference, (row - y.row(t)).cwiseAbs().maxCoeff());
  }

  std::cout << "y is " << y.rows() << " x " << y.cols() << ", |dx| = " << dx.norm()
            << ", |dW_o| = " << gradient.wo.norm() << ", streaming differs by " << difference << "\n";
  return difference < 1e-5f ? 0 : 1;
}
