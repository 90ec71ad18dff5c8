// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>

namespace heed {

/// What a training loop says of its last steps. Only the time of steps counts, not what lies between them.
class Progress {
 public:
  /// A step begins.
  void begin() { began_ = Clock::now(); }
  /// It is done: its mean loss in nats, over so many tokens.
  void add(double loss, Index tokens) {
    nats_ += loss * static_cast<double>(tokens);
    tokens_ += static_cast<double>(tokens);
    seconds_ += std::chrono::duration<double>(Clock::now() - began_).count();
  }
  double loss() const { return tokens_ > 0 ? nats_ / tokens_ : 0; }       ///< mean over tokens, in nats
  double bits() const { return loss() / std::log(2.0); }                  ///< the same in bits: per character, of bytes
  double speed() const { return seconds_ > 0 ? tokens_ / seconds_ : 0; }  ///< tokens per second
  /// All three, of the steps since the last line.
  std::string line() {
    std::array<char, 128> text{};
    std::snprintf(text.data(), text.size(), "loss %.4f  bits/char %.4f  tokens/s %5.0f", loss(), bits(), speed());
    nats_ = tokens_ = seconds_ = 0;
    return text.data();
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point began_{};
  double nats_ = 0, tokens_ = 0, seconds_ = 0;
};

}  // namespace heed
