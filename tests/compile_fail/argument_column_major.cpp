// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// A column-major argument would be copied: it is refused, not copied.
// expect: a column-major matrix would have to be copied
#include <heed/heed.hpp>

#ifdef HEED_SHOULD_FAIL
using Tokens = Eigen::MatrixXf;
#else
using Tokens = heed::Matrix<float>;
#endif

using Layer = heed::Attention<heed::Tiled<float>>;
void run(const Layer& layer, const Layer::Params& params, const Tokens& x, Layer::Cache& cache) {
  layer.forward(params, x, heed::Batch::one(x.rows()), cache);
}
