// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

/// What the variants attend to: the bytes of a real text, embedded and projected with fixed seeds.

namespace heed::bench {

/// The user asked for something that makes no sense; the message names the argument.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Text {
  std::string path;
  std::string bytes;
};

/// The bytes of a file. Throws UsageError if it cannot be read or holds none.
inline Text read_text(const std::string& path) {
  const auto refuse = [&](const std::string& what) -> void {
    throw UsageError("--text: a readable text file expected, came '" + path + "', " + what);
  };
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) refuse("which does not exist");
  if (std::filesystem::is_directory(status)) refuse("which is a folder");
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse("which cannot be opened");
  std::ostringstream bytes;
  bytes << file.rdbuf();  // sets `bytes` to failed if there is nothing to read
  if (file.bad()) refuse("which cannot be read");
  Text text{path, bytes.str()};
  if (text.bytes.empty()) refuse("which is empty");
  return text;
}

/// A text that is there: a licence of the system's, or else our own.
inline Text default_text() {
  for (const char* path : {"/usr/share/common-licenses/GPL-3", "README.md", "LICENSE"}) {
    std::error_code error;
    if (std::filesystem::is_regular_file(path, error) && std::filesystem::file_size(path, error) > 0)
      return read_text(path);
  }
  throw UsageError("--text: a file expected, since none of the default ones is here");
}

inline constexpr Index d_model = 512, d_head = 64;

/// Token matrix `[n, d_model]`: one token per byte, the text again and again. A token is the vector of its byte plus
/// sines and cosines of its position (Vaswani et al. 2017, section 3.5), each channel with variance 1.
inline Matrix<float> embed(const Text& text, Index n) {
  Random random = Random(1).stream(0);
  const Matrix<float> table = random_normal<float>(random, 256, d_model, std::sqrt(0.5));
  std::vector<double> frequency;
  for (Index c = 0; c < d_model; c += 2)
    frequency.push_back(std::pow(10000.0, -static_cast<double>(c) / static_cast<double>(d_model)));
  Matrix<float> x(n, d_model);
  for (Index i = 0; i < n; ++i) {
    const auto byte = static_cast<unsigned char>(text.bytes[static_cast<std::size_t>(i) % text.bytes.size()]);
    x.row(i) = table.row(byte);
    for (std::size_t f = 0; f < frequency.size(); ++f) {
      const double angle = static_cast<double>(i) * frequency[f];
      x(i, static_cast<Index>(2 * f)) += static_cast<float>(std::sin(angle));
      x(i, static_cast<Index>(2 * f + 1)) += static_cast<float>(std::cos(angle));
    }
  }
  return x;
}

/// What the projection of policy P makes of the first n tokens: 8 heads lie side by side in its matrices, one lies
/// alone.
template <AttentionPolicy P>
typename P::template Fields<Buffer<float>> project(const Text& text, Index n, Index heads, Index kv_heads) {
  using Projection = typename P::Projection;
  const Matrix<float> x = embed(text, n);
  const Projection projection({}, ProjectionShape{d_model, d_model, heads, kv_heads, d_head, d_head});
  Random random = Random(1).stream(1);
  Workers workers;
  workers.prepare(1, projection.scratch(n, n));
  typename P::template Fields<Buffer<float>> fields;
  projection.forward(projection.init(random), view(x), view(x), Batch::one(n), fields, workers);
  return fields;
}

}  // namespace heed::bench
