// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/type_list.hpp>
#include <heed/policies/big_bird.hpp>
#include <heed/policies/dense.hpp>
#include <heed/policies/tiled.hpp>

namespace heed {

/// Every variant. The laws, the benchmarks and the table in the README come from this list.
template <class S>
using Policies = TypeList<Dense<S>, Tiled<S>, BigBird<S>>;

}  // namespace heed
