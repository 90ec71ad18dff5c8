// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// What a policy cannot do does not compile: Dense keeps no state for a stream.
// expect: StreamingPolicy
#include <heed/heed.hpp>

#ifdef HEED_SHOULD_FAIL
using Layer = heed::Attention<heed::Dense<float>>;
#else
using Layer = heed::Attention<heed::Tiled<float>>;
#endif

void run(const Layer& layer) { layer.start(1, 8); }
