// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// A bias by distance is added to scores, and Favor has none to add it to.
// expect: num_buckets
#include <heed/policies/favor.hpp>
#include <heed/policies/relative_bias.hpp>

#ifdef HEED_SHOULD_FAIL
heed::Favor<float>::Options options{.num_buckets = 32};
#else
heed::RelativeBias<float>::Options options{.num_buckets = 32};
#endif
