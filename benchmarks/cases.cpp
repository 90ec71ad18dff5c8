// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include "cases.hpp"

#include "kernel_jobs.hpp"
#include "layer_jobs.hpp"
#include "policy_cases.hpp"
#include "training_jobs.hpp"

#include <heed/policies.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>

namespace heed::bench {
namespace {

/// Seconds of timed runs that the policies of `compare` share; with what is not timed, some minutes in all.
constexpr double compare_seconds = 80;
constexpr Index compare_lengths[] = {256, 1024, 2048, 4096, 16384};
constexpr Index bars_lengths[] = {1024, 4096, 8192, 16384, 65536, 131072};

bool any_of(std::int64_t n, const auto& lengths) {
  return std::find(std::begin(lengths), std::end(lengths), n) != std::end(lengths);
}
/// The forward of a whole layer's heads: what variants are compared by.
bool is_plain(const Name& c) { return c.pass == "forward" && c.heads == 8 && c.workers == 1; }
bool is_measure(const Name& c) {
  return c.pass == "product" || c.pass == "bandwidth" || c.pass == "fma" || c.pass == "norm" || c.pass == "encoder" ||
         c.pass == "train";
}

bool in_compare(const Case& c) { return is_plain(c.name) && !c.detail && any_of(c.name.n, compare_lengths); }
/// `with_detail`: the policies of which there is a series.
bool in_series(const Case& c, const std::set<std::string>& with_detail) {
  const bool reference = c.name.subject == "Tiled" || c.name.subject == "NoAttention";
  return is_plain(c.name) && !c.name.causal && c.name.n >= 512 && c.name.n <= 65536 &&
         (with_detail.contains(c.name.subject) || reference);
}
bool in_full(const Case& c) { return c.name.workers == 1 || c.name.subject.empty() || c.name.n == 2048; }
bool in_bars(const Case& c) {
  const Name& name = c.name;
  if (is_measure(name)) return true;
  if (c.detail) return is_plain(name) && name.subject == "Tiled";
  if (is_plain(name) && name.subject != "Dense" && any_of(name.n, bars_lengths)) return true;
  if (name.subject != "Tiled")
    return name.pass == "backward" && name.heads == 8 && name.workers == 1 && name.n == 16384;
  if (name.workers > 1) return name.n == 2048 && !name.causal;
  if (name.pass == "forward") return name.heads == 1 ? name.n <= 4096 : name.n == 2048;
  return name.n == (name.pass == "decode" ? 4096 : 2048);
}
bool in_peers(const Case& c) {
  return is_plain(c.name) && c.name.subject == "Tiled" && c.name.options.empty() && c.name.n <= 4096;
}
bool in(std::string_view suite, const Case& c, const std::set<std::string>& with_detail) {
  if (suite == "compare") return in_compare(c);
  if (suite == "series") return in_series(c, with_detail);
  if (suite == "bars") return in_bars(c);
  if (suite == "peers") return in_peers(c);
  return in_full(c);
}

void add_kernels(std::vector<Case>& all) {
  const auto add = [&](Name name, auto make) {
    all.push_back({std::move(name), false, 0, [make](const Text&) { return make(); }});
  };
  add({.pass = "product", .subject = "ab", .options = "m:256/k:64", .n = 512},
      [] { return product_job<Form::ab>(256, 64, 512); });
  add({.pass = "product", .subject = "atb", .options = "m:64/k:4096", .n = 256},
      [] { return product_job<Form::atb>(64, 4096, 256); });
  // the feed-forward layer's: of its first product, dx and dw
  add({.pass = "product", .subject = "ab", .options = "m:1024/k:512", .n = 2048},
      [] { return product_job<Form::ab>(1024, 512, 2048, true); });
  add({.pass = "product", .subject = "abt", .options = "m:1024/k:2048", .n = 512},
      [] { return product_job<Form::abt>(1024, 2048, 512, true); });
  add({.pass = "product", .subject = "atb", .options = "m:512/k:1024", .n = 2048},
      [] { return product_job<Form::atb>(512, 1024, 2048, true); });
  for (const bool backward : {false, true}) {
    const std::string options = std::string("d:512/pass:") + (backward ? "backward" : "forward");
    add({.pass = "norm", .subject = "layer", .options = options, .n = 8192},
        [backward] { return norm_job<LayerNorm<float>>(8192, 512, backward); });
    add({.pass = "norm", .subject = "rms", .options = options, .n = 8192},
        [backward] { return norm_job<RmsNorm<float>>(8192, 512, backward); });
  }
  for (const auto& [name, activation] :
       {std::pair("relu", Activation::relu), {"gelu", Activation::gelu}, {"gelu_tanh", Activation::gelu_tanh}})
    all.push_back({{.pass = "encoder", .subject = name, .options = "d:512/ff:2048", .n = 1024},
                   false,
                   0,
                   [act = activation](const Text& text) { return encoder_layer_job(1024, 2048, act, text); }});
  add({.pass = "bandwidth", .subject = "read", .heads = 1, .n = 4096}, [] { return bandwidth_job(1, 4096, d_head); });
  add({.pass = "bandwidth", .subject = "read", .heads = 8, .n = 4096}, [] { return bandwidth_job(8, 4096, d_head); });
  if (most_workers > 1) {
    add({.pass = "fma", .workers = 2}, [] { return fma_job(); });
    add({.pass = "train", .n = 512, .workers = 2}, [] { return training_job(); });
  }
}

}  // namespace

std::vector<Case> cases(std::string_view suite) {
  std::vector<Case> all;
  add_kernels(all);
  [&]<std::size_t... i>(std::index_sequence<i...>) { (add_policy_at<i>(all), ...); }
  (std::make_index_sequence<Policies<float>::size>{});
  add_beside(all);
  std::set<std::string> with_detail;
  for (const Case& c : all)
    if (c.detail && c.name.subject != "Tiled") with_detail.insert(c.name.subject);
  std::erase_if(all, [&](const Case& c) { return !in(suite, c, with_detail); });

  const auto place = [](const Case& c) {
    static constexpr std::string_view passes[] = {"fma",    "bandwidth", "product", "norm",    "encoder",
                                                  "decode", "train",     "forward", "backward"};
    const auto pass = std::find(std::begin(passes), std::end(passes), c.name.pass) - std::begin(passes);
    return std::tuple(pass, c.name.n, c.name.heads, c.name.kv_heads, c.name.workers, c.name.causal);
  };
  std::stable_sort(all.begin(), all.end(), [&](const Case& a, const Case& b) { return place(a) < place(b); });

  std::map<std::string, int> per_policy;
  for (const Case& c : all) ++per_policy[c.name.subject];
  for (Case& c : all) {
    const double share = compare_seconds / static_cast<double>(per_policy.size()) / per_policy[c.name.subject];
    const double some_calls = c.name.pass == "train" ? 1.5 : 0.5;
    c.min_time = suite == "compare" ? std::clamp(share, 0.02, 1.0) : suite == "bars" ? some_calls : 0.1;
  }
  return all;
}

}  // namespace heed::bench
