// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <nlohmann/json.hpp>

#include <cstdio>
#include <optional>
#include <string>

/// How fast the exact kernels have to be, and how fast they were in a run.

namespace heed::bench {

class Bars {
 public:
  explicit Bars(const nlohmann::json& results) : results_(results) {}

  void print() {
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

 private:
  using Number = std::optional<double>;

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
