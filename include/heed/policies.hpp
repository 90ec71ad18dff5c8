// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/type_list.hpp>
#include <heed/policies/adaptive_span.hpp>
#include <heed/policies/big_bird.hpp>
#include <heed/policies/dense.hpp>
#include <heed/policies/favor.hpp>
#include <heed/policies/linformer.hpp>
#include <heed/policies/log_sparse.hpp>
#include <heed/policies/longformer.hpp>
#include <heed/policies/lsh.hpp>
#include <heed/policies/persistent_memory.hpp>
#include <heed/policies/relative_bias.hpp>
#include <heed/policies/sliding_window.hpp>
#include <heed/policies/tiled.hpp>

namespace heed {

/// Every variant. The laws, the benchmarks and the table in the README come from this list.
template <class S>
using Policies =
    TypeList<Dense<S>, Tiled<S>, RelativeBias<S>, SlidingWindow<S>, Longformer<S>, BigBird<S>, LogSparse<S>,
             AdaptiveSpan<S>, DynamicSpan<S>, Lsh<S>, Favor<S>, Linformer<S>, PersistentMemory<Tiled<S>>>;

}  // namespace heed
