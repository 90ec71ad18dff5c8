// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

int main() {
  using Layer = heed::Attention<heed::Tiled<float>>;
  const Layer layer({.d_model = 8, .heads = 2});
  heed::Random random(1);
  const Layer::Params params = layer.init(random);
  const heed::Matrix<float> x = heed::Matrix<float>::Ones(3, 8);
  Layer::Cache cache;
  const heed::ConstView<float> y = layer.forward(params, x, heed::Batch::one(3), cache);
  // Rows that are all alike have the same result: the mean of equal values.
  return y.rows() == 3 && (y.row(0) - y.row(2)).norm() < 1e-5f && y.norm() > 0 ? 0 : 1;
}
