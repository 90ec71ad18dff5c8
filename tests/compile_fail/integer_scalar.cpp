// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// Attention over integers makes no sense.
// expect: floating_point
#include <heed/heed.hpp>

template <class S>
struct Policy : heed::Dense<float> {
  using Scalar = S;
};
#ifdef HEED_SHOULD_FAIL
heed::Attention<Policy<int>>* attention = nullptr;
#else
heed::Attention<heed::Dense<float>>* attention = nullptr;
#endif
