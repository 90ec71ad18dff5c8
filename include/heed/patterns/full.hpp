// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>

namespace heed {

/// Every query sees every key.
struct Full {
  void keys(Range, Index n_k, Ranges& ranges) const { ranges.add({0, n_k}); }
  bool sees(Index, Index) const { return true; }
  bool all(Range, Range) const { return true; }
};
static_assert(KeyPattern<Full>);

}  // namespace heed
