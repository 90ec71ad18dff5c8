// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/attend.hpp>

#include <utility>

/// Output and log-sum-exp of one head.
template <class P, class X>
std::pair<X, X> run(const typename P::Options& options, const X& q, const X& k, const X& v) {
  const P policy(options, {q.cols(), v.cols(), 1});
  heed::HeadCache<P> cache;
  const auto r = heed::attend(policy, q, k, v, cache);
  return {r.o, r.lse};
}
