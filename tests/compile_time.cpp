// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// What one translation unit of a user costs to compile: one attention, forward and backward. See target compile-time.
#include <heed/heed.hpp>

using Layer = heed::Attention<heed::Tiled<float>>;
using Tokens = heed::Matrix<float>;

heed::ConstView<float> forward(const Layer& layer, const Layer::Params& params, const Tokens& x,
                               const heed::Batch& batch, Layer::Cache& cache) {
  return layer.forward(params, x, batch, cache);
}

heed::ConstView<float> backward(const Layer& layer, const Layer::Params& params, const Tokens& x,
                                const heed::Batch& batch, Layer::Cache& cache, const Tokens& dy,
                                Layer::Params& gradients) {
  return layer.backward(params, x, batch, cache, dy, gradients);
}
