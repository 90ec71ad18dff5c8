// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// Slots mix all positions: Linformer cannot be causal, and has no such option.
// expect: causal
#include <heed/policies/linformer.hpp>

#ifdef HEED_SHOULD_FAIL
heed::Linformer<float>::Options options{.causal = true};
#else
heed::Linformer<float>::Options options{.k = 128};
#endif
