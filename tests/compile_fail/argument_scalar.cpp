// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// Doubles do not turn into floats on the way.
// expect: the matrix has another scalar type than the policy
#include <heed/heed.hpp>

#ifdef HEED_SHOULD_FAIL
using Tokens = heed::Matrix<double>;
#else
using Tokens = heed::Matrix<float>;
#endif

using Layer = heed::Attention<heed::Tiled<float>>;
void run(const Layer& layer, const Layer::Params& params, const Tokens& x, Layer::Cache& cache) {
  layer.forward(params, x, heed::Batch::one(x.rows()), cache);
}
