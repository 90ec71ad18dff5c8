// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// So would an expression.
// expect: an expression would have to be copied
#include <heed/heed.hpp>

using Layer = heed::Attention<heed::Tiled<float>>;
void run(const Layer& layer, const Layer::Params& params, const heed::Matrix<float>& x, Layer::Cache& cache) {
#ifdef HEED_SHOULD_FAIL
  layer.forward(params, x + x, heed::Batch::one(x.rows()), cache);
#else
  layer.forward(params, x, heed::Batch::one(x.rows()), cache);
#endif
}
