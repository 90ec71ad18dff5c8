// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// An option that a policy does not have is not swallowed.
// expect: windwo
#include <heed/heed.hpp>

#ifdef HEED_SHOULD_FAIL
heed::Tiled<float>::Options options{.windwo = 3};
#else
heed::Tiled<float>::Options options{.causal = true};
#endif
