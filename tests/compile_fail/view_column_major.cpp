// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// Views are row-major, and a column-major matrix does not turn into one by a silent copy.
// expect: no matching function for call to .view
#include <heed/core/types.hpp>

#ifdef HEED_SHOULD_FAIL
using Tokens = Eigen::MatrixXf;
#else
using Tokens = heed::Matrix<float>;
#endif

heed::ConstView<float> view_of(const Tokens& tokens) { return heed::view(tokens); }
