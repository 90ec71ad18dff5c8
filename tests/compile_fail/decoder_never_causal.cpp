// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// A decoder must not see what it is to write: a policy that is never causal has no place in it.
// expect: CausalPolicy|constraint
#include <heed/encoder.hpp>
#include <heed/policies/linformer.hpp>
#include <heed/policies/tiled.hpp>

using Cross = heed::Linformer<float>;  // it may read the memory
#ifdef HEED_SHOULD_FAIL
using Self = heed::Linformer<float>;
#else
using Self = heed::Tiled<float>;
#endif
static_assert(sizeof(heed::Decoder<Self, Cross>) > 0);
