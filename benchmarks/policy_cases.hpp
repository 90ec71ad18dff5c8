// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "attention_jobs.hpp"
#include "cases.hpp"
#include "decode_jobs.hpp"

#include <algorithm>
#include <string>
#include <vector>

/// Every case of one policy, whatever the suite. One policy is compiled in one file, so that several compile at once.

namespace heed::bench {

#ifdef _OPENMP
inline constexpr Index most_workers = 2;
#else
inline constexpr Index most_workers = 1;
#endif

/// Lengths of the passes that every suite draws from.
inline constexpr Index shortest = 128, longest_pass = 16384;
/// Longer ones, forward only, for presets that take less than a minute there: multiply-adds of 8 heads.
inline constexpr Index long_lengths[] = {32768, 65536, 131072};
inline constexpr double longest_work = 5e12;

template <RegisteredPolicy P>
void add_preset(const Preset<typename P::Options>& preset, std::vector<Case>& all, Adjust<P> adjust = nullptr) {
  const P policy(preset.options, HeadShape{d_head, d_head, 8});
  const bool causal = policy.causality() != Causality::none;
  Name name{.pass = "forward", .subject = std::string(P::name), .options = std::string(preset.name), .causal = causal};
  const auto add = [&](auto make) {
    all.push_back({name, preset.detail, 0, [make, options = preset.options, name, adjust](const Text& text) {
                     return make(options, name, text, adjust);
                   }});
  };
  const auto work = [&](Index n) { return 8 * policy.cost({n, n}).forward; };
  for (name.heads = 1; name.heads <= 8; name.heads += 7)
    for (name.n = shortest; name.n <= std::min(preset.longest, longest_pass); name.n *= 2)
      for (name.workers = 1; name.workers <= (name.heads > 1 ? most_workers : 1); ++name.workers) {
        name.pass = "forward";
        add(forward_job<P>);
        name.pass = "backward";
        add(backward_job<P>);
      }
  name.workers = 1;
  name.heads = 8;
  name.pass = "forward";
  for (const Index n : long_lengths) {
    name.n = n;
    if (n <= preset.longest && work(n) < longest_work) add(forward_job<P>);
  }

  if constexpr (StreamingPolicy<P>) {
    if (!causal) return;
    name.pass = "decode";
    name.causal = false;  // it is by nature
    for (name.n = shortest; name.n <= std::min(preset.longest, longest_pass); name.n *= 2) {
      for (name.heads = 1; name.heads <= 8; name.heads += 7) add(decode_job<P>);
      name.heads = 8;
      name.kv_heads = 1;
      if (name.n == 4096) add(decode_job<P>);
      name.kv_heads = 0;
    }
  }
}

template <RegisteredPolicy P>
void add_policy(std::vector<Case>& all) {
  using Options = typename P::Options;
  static_cast<void>(Options{});  // g++ 12 crashes on presets() if it meets the members' defaults there first
  for (const Preset<Options>& preset : P::presets()) add_preset<P>(preset, all);
}

}  // namespace heed::bench
