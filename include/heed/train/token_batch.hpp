// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/batch.hpp>
#include <heed/core/require.hpp>
#include <heed/core/types.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace heed {

/// Sequences of tokens, one below the other, as the batch says.
struct TokenBatch {
  std::vector<std::int32_t> ids{};      ///< one for each row of the queries
  std::vector<std::int32_t> source{};   ///< one for each row of the keys, for a model that reads another sequence
  std::vector<std::int32_t> targets{};  ///< one for each of the ids, or -1 for none: what a loss asks for
  Batch batch{};
};

/// One sequence of the bytes of a text, each a token in [0, 256).
inline TokenBatch byte_tokens(std::string_view text) {
  TokenBatch t;
  for (const char c : text) t.ids.push_back(static_cast<unsigned char>(c));
  t.batch = Batch::one(static_cast<Index>(text.size()));
  return t;
}

/// One sequence of n bytes from each of `begins` on, with the byte that follows each as its target. Throws ShapeError for
/// a window that leaves the text, whose last byte has none after it.
inline TokenBatch byte_windows(std::string_view text, const std::vector<Index>& begins, Index n) {
  require<ShapeError>(n >= 0, "n: not negative expected, came ", n);
  const Index size = static_cast<Index>(text.size());
  TokenBatch t;
  for (std::size_t w = 0; w < begins.size(); ++w) {
    require<ShapeError>(begins[w] >= 0 && begins[w] < size - n, "begins[", w, "]: a window of ", n,
                        " bytes and one more in a text of ", size, " expected, came ", begins[w]);
    for (Index i = begins[w]; i < begins[w] + n; ++i) {
      t.ids.push_back(static_cast<unsigned char>(text[static_cast<std::size_t>(i)]));
      t.targets.push_back(static_cast<unsigned char>(text[static_cast<std::size_t>(i + 1)]));
    }
  }
  t.batch = Batch::ragged(std::vector<Index>(begins.size(), n));
  return t;
}

}  // namespace heed
