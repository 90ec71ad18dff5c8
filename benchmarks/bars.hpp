// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

/// How fast the variants have to be, and how fast they were in a run.

namespace heed::bench {

class Bars {
 public:
  explicit Bars(const nlohmann::json& results) : results_(results) {}

  void print() {
    exact();
    layers();
    sparse();
    sub_quadratic();
  }

 private:
  using Number = std::optional<double>;

  void exact() {
    std::printf("\n%-72s %9s %10s\n", "bar", "", "measured");
    const std::string one = "forward/Tiled/heads:1/n:", eight = "forward/Tiled/heads:8/n:";
    for (const char* n : {"512", "1024", "2048", "4096"})
      at_least("Tiled forward, contiguous head, n = " + std::string(n) + ": of peak", 0.75, of(one + n, "of_peak"));
    at_least("Tiled forward, contiguous head, n = 128: of peak", 0.65, of(one + "128", "of_peak"));
    for (const char* n : {"2048", "4096"})
      at_least("Tiled forward, 8 strided heads, n = " + std::string(n) + ": of peak", 0.70, of(eight + n, "of_peak"));
    for (const char* n : {"512", "2048", "4096"})
      at_most("causal over non-causal time, n = " + std::string(n), std::string(n) == "512" ? 0.65 : 0.56,
              over(cycles(one + n + "/causal"), cycles(one + n)));
    for (const char* h : {"1", "8"})
      at_least("Tiled backward, heads: " + std::string(h) + ", n = 2048: of peak", 0.65,
               of("backward/Tiled/heads:" + std::string(h) + "/n:2048", "of_peak"));
    for (const char* pass : {"forward", "backward"}) {
      const std::string name = std::string(pass) + "/Tiled/heads:8/n:2048/workers:2";
      at_least(std::string(pass) + ", two workers over one, of the same for loops of multiply-adds", 0.93,
               over(of(name, "scaling"), of(name, "fma_scaling")));
    }
    at_least("decode, 8 heads, 4096 keys: of the read bandwidth", 0.8,
             of("decode/Tiled/heads:8/n:4096", "of_bandwidth"));
    at_most("decode, 8 query heads on one key/value head, over one query head", 2,
            over(cycles("decode/Tiled/heads:8/kv_heads:1/n:4096"), cycles("decode/Tiled/heads:1/n:4096")));
    at_most("Tiled forward, 8 strided heads, n = 65536: MiB of scratch", 2,
            over(of(eight + "65536", "scratch_bytes"), 1024.0 * 1024.0));
    at_least("A B, 256 x 64 x 512: of peak", 0.85, of("product/ab/m:256/k:64/n:512", "of_peak"));
    at_least("A^T B, 64 x 4096 x 256: of peak", 0.85, of("product/atb/m:64/k:4096/n:256", "of_peak"));
  }

  void layers() {
    for (const auto& [product, what] : {std::pair("ab/m:1024/k:512/n:2048", "A B, 1024 x 512 x 2048"),
                                        {"abt/m:1024/k:2048/n:512", "A B^T, 1024 x 2048 x 512"},
                                        {"atb/m:512/k:1024/n:2048", "A^T B, 512 x 1024 x 2048"}})
      at_least(std::string(what) + ": of peak", 0.75, of("product/" + std::string(product), "of_peak"));
    for (const auto& [norm, what] : {std::pair("layer", "LayerNorm"), {"rms", "RmsNorm"}})
      for (const char* pass : {"forward", "backward"})
        at_least(std::string(what) + " " + pass + ", 8192 x 512: of the bandwidth of as many reads and writes", 0.7,
                 of("norm/" + std::string(norm) + "/d:512/pass:" + pass + "/n:8192", "of_bandwidth"));
    for (const char* activation : {"relu", "gelu", "gelu_tanh"})
      at_most("encoder layer, " + std::string(activation) + ", n = 1024: over its products and attention alone", 1.1,
              of("encoder/" + std::string(activation) + "/d:512/ff:2048/n:1024", "over_parts"));
    const std::string train = "train/n:512/workers:2";
    at_least("training step, two workers over one, of the same for loops of multiply-adds", 0.88,
             over(of(train, "scaling"), of(train, "fma_scaling")));
  }

  void sparse() {
    for (const auto& [variant, most] :
         {std::pair("SlidingWindow/w:256", 1.25), {"SlidingWindow/w:64", 1.6}, {"BigBird", 1.3}})
      at_most(std::string(variant) + ", n = 16384: time over Tiled's for as many pairs", most,
              over(over(cycles(forward(variant, 16384)), cycles(forward("Tiled", 16384))),
                   of(forward(variant, 16384), "of_dense")));
    for (const auto& [variant, least] :
         {std::pair("SlidingWindow/w:256", 22.0), {"LogSparse", 60.0}, {"AdaptiveSpan/spans:mixed", 10.0}})
      at_least(std::string(variant) + ", causal, n = 16384: times as fast as causal Tiled", least,
               faster(variant, 16384, true));
    for (const char* variant : {"SlidingWindow/w:256", "SlidingWindow/w:64", "BigBird"}) back(variant, false);
    for (const char* variant : {"SlidingWindow/w:256", "LogSparse", "AdaptiveSpan/spans:mixed"}) back(variant, true);
    for (const char* variant : {"SlidingWindow/w:256", "SlidingWindow/w:64", "BigBird"}) slope(variant, false);
    for (const char* variant : {"SlidingWindow/w:256", "LogSparse", "AdaptiveSpan/spans:mixed"}) slope(variant, true);
    at_most("a pattern of one's own, n = 16384: time over the built-in window's", 1.05,
            over(cycles(forward("Tiled/pattern:own", 16384)), cycles(forward("Tiled/pattern:window", 16384))));
    at_most(
        "SlidingWindow/w:256, n = 131072: time over twice that of n = 65536", 1.1,
        over(over(cycles(forward("SlidingWindow/w:256", 131072)), 2), cycles(forward("SlidingWindow/w:256", 65536))));
  }

  void sub_quadratic() {
    struct Row {
      const char* variant;
      bool causal;
      double least[4];
    };
    static constexpr int lengths[] = {1024, 4096, 16384, 65536};
    for (const Row& row : {Row{"Favor/m:256", false, {1.6, 6.5, 26, 100}}, Row{"Favor/m:256", true, {0.7, 3, 12, 48}},
                           Row{"Linformer/k:256", false, {1.7, 7, 27, 105}},
                           Row{"Lsh/rounds:1", false, {4, 16, 50, 100}}, Row{"Lsh/rounds:4", false, {1, 4, 13, 27}}}) {
      for (std::size_t i = 0; i < 4; ++i)
        at_least(std::string(row.variant) + (row.causal ? ", causal" : "") + ", n = " + std::to_string(lengths[i]) +
                     ": times as fast as Tiled",
                 row.least[i], faster(row.variant, lengths[i], row.causal));
      back(row.variant, row.causal);
      slope(row.variant, row.causal);
    }
    at_most("Favor/m:256, n = 65536: time over that of its products", 1.5,
            over(of("product/ab/m:256/k:64/n:512", "of_peak"), of(forward("Favor/m:256", 65536), "of_peak")));
    at_most("PersistentMemory/memory:1024, n = 4096: time over Tiled's for as many keys", 1.03,
            over(over(cycles(forward("PersistentMemory/memory:1024", 4096)), cycles(forward("Tiled", 4096))), 1.25));
  }

  static std::string forward(const std::string& variant, int n, bool causal = false) {
    return "forward/" + variant + "/heads:8/n:" + std::to_string(n) + (causal ? "/causal" : "");
  }
  Number faster(const std::string& variant, int n, bool causal) const {
    return over(cycles(forward("Tiled", n, causal)), cycles(forward(variant, n, causal)));
  }
  void back(const std::string& variant, bool causal) {
    const std::string name = forward(variant, 16384, causal);
    at_most(variant + (causal ? ", causal" : "") + ", n = 16384: backward over forward", 3.2,
            over(cycles("back" + name.substr(3)), cycles(name)));
  }
  /// Of the memory beyond inputs and results, on logarithmic axes.
  void slope(const std::string& variant, bool causal) {
    const auto bytes = [&](int n) {
      const Number saved = of(forward(variant, n, causal), "saved_bytes"),
                   scratch = of(forward(variant, n, causal), "scratch_bytes");
      return saved && scratch ? Number(*saved + *scratch) : std::nullopt;
    };
    const Number ratio = over(bytes(65536), bytes(8192));
    at_most(variant + (causal ? ", causal" : "") + ": slope of memory in n, 8192 to 65536", 1.05,
            ratio ? Number(std::log(*ratio) / std::log(8.0)) : std::nullopt);
  }

  Number of(const std::string& name, const char* counter) const {
    for (const auto& b : results_["benchmarks"])
      if (b.value("name", "") == name && b.contains(counter)) return b[counter].get<double>();
    return std::nullopt;
  }
  /// Time in units of what the core could do meanwhile: two cases may have met different clocks.
  Number cycles(const std::string& name) const {
    const Number s = of(name, "seconds"), peak = of(name, "peak");
    return s && peak ? Number(*s * *peak) : std::nullopt;
  }
  static Number over(Number a, Number b) { return a && b ? Number(*a / *b) : std::nullopt; }

  void at_least(const std::string& what, double bar, Number x) { line(what, ">=", bar, x, x && *x >= bar); }
  void at_most(const std::string& what, double bar, Number x) { line(what, "<=", bar, x, x && *x <= bar); }
  void line(const std::string& what, const char* sign, double bar, Number x, bool met) {
    if (!x) return;  // not among the cases of this run
    std::printf("%-72s %3s %5.2f %10.3f  %s\n", what.c_str(), sign, bar, *x, met ? "met" : "MISSED");
  }

  const nlohmann::json& results_;
};

}  // namespace heed::bench
