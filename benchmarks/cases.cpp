// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include "cases.hpp"

#include "attention_jobs.hpp"
#include "decode_jobs.hpp"
#include "kernel_jobs.hpp"

#include <heed/policies.hpp>

#include <algorithm>
#include <map>
#include <tuple>

namespace heed::bench {
namespace {

#ifdef _OPENMP
constexpr Index most_workers = 2;
#else
constexpr Index most_workers = 1;
#endif

/// Seconds of timed runs that the policies of `compare` share; with what is not timed, some minutes in all.
constexpr double compare_seconds = 80;
constexpr Index compare_lengths[] = {256, 1024, 2048, 4096, 16384};
/// A length only to show that memory stays small, for policies whose first preset takes less than a few minutes.
constexpr Index longest = 65536;
constexpr double longest_work = 5e12;

bool any_of(std::int64_t n, const auto& lengths) {
  return std::find(std::begin(lengths), std::end(lengths), n) != std::end(lengths);
}

bool in_compare(const Name& c) {
  return c.pass == "forward" && c.heads == 8 && c.workers == 1 && any_of(c.n, compare_lengths);
}
bool in_full(const Name& c) { return c.workers == 1 || c.subject.empty() || c.n == 2048; }
bool in_bars(const Name& c) {
  if (c.subject != "Tiled" || !c.options.empty())
    return c.pass == "product" || c.pass == "bandwidth" || c.pass == "fma";
  if (c.workers > 1) return c.n == 2048 && !c.causal;
  if (c.n == longest) return true;
  if (c.pass == "forward") return c.heads == 1 ? c.n <= 4096 : c.n == 2048 || c.n == 4096;
  return c.n == (c.pass == "decode" ? 4096 : 2048);
}
bool in_peers(const Name& c) {
  return c.pass == "forward" && c.subject == "Tiled" && c.options.empty() && c.heads == 8 && c.n <= 4096;
}
bool in(std::string_view suite, const Name& c) {
  if (suite == "compare") return in_compare(c);
  if (suite == "bars") return in_bars(c);
  if (suite == "peers") return in_peers(c);
  return in_full(c);
}

template <RegisteredPolicy P>
void add_policy(std::vector<Case>& all) {
  using Options = typename P::Options;
  static_cast<void>(Options{});  // g++ 12 crashes on presets() if it meets the members' defaults there first
  bool first = true;
  for (const Preset<Options>& preset : P::presets()) {
    const auto policy = [&](Index heads) { return P(preset.options, HeadShape{d_head, d_head, heads}); };
    const bool causal = policy(1).causality() != Causality::none;
    Name name{
        .pass = "forward", .subject = std::string(P::name), .options = std::string(preset.name), .causal = causal};
    const auto add = [&](auto make) {
      all.push_back(
          {name, 0, [make, options = preset.options, name](const Text& text) { return make(options, name, text); }});
    };
    for (name.heads = 1; name.heads <= 8; name.heads += 7)
      for (name.n = 128; name.n <= std::min<Index>(preset.longest, 16384); name.n *= 2)
        for (name.workers = 1; name.workers <= (name.heads > 1 ? most_workers : 1); ++name.workers) {
          name.pass = "forward";
          add(forward_job<P>);
          name.pass = "backward";
          add(backward_job<P>);
        }
    name.workers = 1;
    name.heads = 8;
    name.n = longest;
    name.pass = "forward";
    if (first && preset.longest >= 16384 && 8 * policy(8).cost({longest, longest}).forward < longest_work)
      add(forward_job<P>);
    first = false;

    if constexpr (StreamingPolicy<P>) {
      if (!causal) continue;
      name.pass = "decode";
      name.causal = false;  // it is by nature
      for (name.n = 128; name.n <= std::min<Index>(preset.longest, 16384); name.n *= 2) {
        for (name.heads = 1; name.heads <= 8; name.heads += 7) add(decode_job<P>);
        name.heads = 8;
        name.kv_heads = 1;
        if (name.n == 4096) add(decode_job<P>);
        name.kv_heads = 0;
      }
    }
  }
}

void add_kernels(std::vector<Case>& all) {
  const auto add = [&](Name name, auto make) {
    all.push_back({std::move(name), 0, [make](const Text&) { return make(); }});
  };
  add({.pass = "product", .subject = "ab", .options = "m:256/k:64", .n = 512},
      [] { return product_job<Form::ab>(256, 64, 512); });
  add({.pass = "product", .subject = "atb", .options = "m:64/k:4096", .n = 256},
      [] { return product_job<Form::atb>(64, 4096, 256); });
  add({.pass = "bandwidth", .subject = "read", .heads = 1, .n = 4096}, [] { return bandwidth_job(1, 4096, d_head); });
  add({.pass = "bandwidth", .subject = "read", .heads = 8, .n = 4096}, [] { return bandwidth_job(8, 4096, d_head); });
  if (most_workers > 1) add({.pass = "fma", .workers = 2}, [] { return fma_job(); });
}

}  // namespace

std::vector<Case> cases(std::string_view suite) {
  std::vector<Case> all;
  add_kernels(all);
  for_each_type(Policies<float>{}, [&]<class P>() { add_policy<P>(all); });
  std::erase_if(all, [&](const Case& c) { return !in(suite, c.name); });

  const auto place = [](const Case& c) {
    static constexpr std::string_view passes[] = {"forward", "backward", "decode", "product", "bandwidth", "fma"};
    const auto pass = std::find(std::begin(passes), std::end(passes), c.name.pass) - std::begin(passes);
    return std::tuple(pass, c.name.n, c.name.heads, c.name.kv_heads, c.name.workers, c.name.causal);
  };
  std::stable_sort(all.begin(), all.end(), [&](const Case& a, const Case& b) { return place(a) < place(b); });

  std::map<std::string, int> per_policy;
  for (const Case& c : all) ++per_policy[c.name.subject];
  for (Case& c : all) {
    const double share = compare_seconds / static_cast<double>(per_policy.size()) / per_policy[c.name.subject];
    c.min_time = suite == "compare" ? std::clamp(share, 0.02, 1.0) : suite == "bars" ? 0.5 : 0.1;
  }
  return all;
}

}  // namespace heed::bench
