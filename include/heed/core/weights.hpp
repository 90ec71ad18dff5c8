// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <type_traits>

namespace heed {

/// What a layer learned: its own parameters, and by reference those it shares with others. A layer that shares nothing
/// takes its parameters alone; one that does not compiles only with both.
template <class L>
struct Weights {
  const typename L::Params& own;
  const typename L::Shared& shared;
  Weights(const typename L::Params& p, const typename L::Shared& s) : own(p), shared(s) {}
  Weights(const typename L::Params& p) requires std::is_empty_v<typename L::Shared> : own(p), shared(none) {}
  static inline const typename L::Shared none{};
};

/// Where a layer adds its gradients.
template <class L>
struct Gradients {
  typename L::Params& own;
  typename L::Shared& shared;
  Gradients(typename L::Params& p, typename L::Shared& s) : own(p), shared(s) {}
  Gradients(typename L::Params& p) requires std::is_empty_v<typename L::Shared> : own(p), shared(none) {}
  static inline typename L::Shared none{};  // holds nothing: that is required above
};

}  // namespace heed
