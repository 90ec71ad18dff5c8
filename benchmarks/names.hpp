// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The names of the cases:
/// `<pass>/<Policy>[/<option>:<value>...]/heads:<h>[/kv_heads:<g>]/n:<n>[/workers:<t>][/causal]`.

namespace heed::bench {

struct Name {
  std::string pass{};     ///< forward, backward, decode; or what else is measured: product, norm, encoder, ...
  std::string subject{};  ///< the policy, or the kind of what else is measured
  std::string options{};  ///< key:value pairs joined by '/', as the policy's preset has them
  std::int64_t heads = 0, kv_heads = 0, n = 0, workers = 1;  ///< kv_heads 0: as many as heads
  bool causal = false;

  /// Policy and options: what is compared by length.
  std::string variant() const { return options.empty() ? subject : subject + "/" + options; }

  std::string text() const {
    std::string s = pass;
    const auto add = [&](const std::string& part) { s += part.empty() ? part : "/" + part; };
    const auto number = [&](const char* key, std::int64_t x) { add(key + std::to_string(x)); };
    add(subject);
    add(options);
    if (heads > 0) number("heads:", heads);
    if (kv_heads > 0) number("kv_heads:", kv_heads);
    if (n > 0) number("n:", n);
    if (workers > 1) number("workers:", workers);
    if (causal) add("causal");
    return s;
  }

  /// The name that `text` spells, in whatever order its pairs come, without what the harness appends to it. Nothing if
  /// it has no pass, or a number that is none.
  static std::optional<Name> parse(std::string_view text) {
    Name name;
    for (bool first = true; !text.empty() || first; first = false) {
      const std::string_view part = text.substr(0, text.find('/'));
      text.remove_prefix(std::min(text.size(), part.size() + 1));
      const std::size_t colon = part.find(':');
      if (first) {
        if (part.empty() || colon != part.npos) return std::nullopt;
        name.pass = part;
      } else if (colon == part.npos) {
        if (part == "causal")
          name.causal = true;
        else if (name.subject.empty() && !of_harness(part))
          name.subject = part;
        else if (!of_harness(part))
          return std::nullopt;
      } else if (const std::string_view key = part.substr(0, colon); std::int64_t* number = name.number(key)) {
        const std::string_view value = part.substr(colon + 1);
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), *number);
        if (error != std::errc() || end != value.data() + value.size()) return std::nullopt;
      } else if (!of_harness(key)) {
        name.options += name.options.empty() ? std::string(part) : "/" + std::string(part);
      }
    }
    return name;
  }

 private:
  std::int64_t* number(std::string_view key) {
    if (key == "heads") return &heads;
    if (key == "kv_heads") return &kv_heads;
    if (key == "n") return &n;
    return key == "workers" ? &workers : nullptr;
  }
  static bool of_harness(std::string_view key) {
    for (const std::string_view known : {"min_time", "min_warmup_time", "iterations", "repeats", "process_time",
                                         "real_time", "manual_time", "threads"})
      if (key == known) return true;
    return false;
  }
};

}  // namespace heed::bench
