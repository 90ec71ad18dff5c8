// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>

/// Queries, keys and values of your own: one head, one call, no projection. Views into larger matrices are not copied.
int main() {
  const heed::Tiled<float> policy({.causal = true, .soft_cap = 30.0f}, {.key_dim = 16, .value_dim = 24});
  heed::Random random(1);
  const heed::Matrix<float> heads = heed::random_normal<float>(random, 100, 64, 1.0);  // q, k and v side by side
  const auto q = heads.leftCols(16), k = heads.middleCols(16, 16);
  const auto v = heads.middleCols(32, 24);

  heed::HeadCache<heed::Tiled<float>> cache;
  const auto result = heed::attend(policy, q, k, v, cache);
  const auto gradients = heed::attend_backward(policy, q, k, v, cache, result.o);
  std::cout << "|o| = " << result.o.norm() << ", last log-sum-exp " << result.lse(99)
            << ", |dq| = " << gradients.q.norm() << "\n";
  return result.o.allFinite() ? 0 : 1;
}
