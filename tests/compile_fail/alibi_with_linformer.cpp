// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// Slots mix all positions: a query of Linformer is at no distance from them, and has no slope.
// expect: alibi
#include <heed/policies/linformer.hpp>
#include <heed/policies/tiled.hpp>

#ifdef HEED_SHOULD_FAIL
heed::Linformer<float>::Options options{.alibi = {0.5f}};
#else
heed::Tiled<float>::Options options{.alibi = {0.5f}};
#endif
