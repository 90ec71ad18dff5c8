// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/require.hpp>

#include <fstream>
#include <string>

namespace heed {

/// Draws who sees whom as an SVG file: one row per query, one column per key, a square for every pair. Throws
/// `std::invalid_argument` if the file cannot be written.
template <KeyPattern Pattern>
void write_picture(const std::string& path, const Pattern& pattern, Index n_q, Index n_k, Index pixels_per_pair = 5) {
  require<OptionError>(n_q >= 0 && n_k >= 0, "write_picture: sizes must not be negative, came ", n_q, " and ", n_k);
  require<OptionError>(pixels_per_pair >= 1, "write_picture: at least 1 pixel per pair expected, came ",
                       pixels_per_pair);
  std::ofstream file(path);
  require<OptionError>(file.good(), "write_picture: cannot write to '", path, "'");
  file << "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" << n_k * pixels_per_pair << "\" height=\""
       << n_q * pixels_per_pair << "\" viewBox=\"0 0 " << n_k << ' ' << n_q
       << "\" shape-rendering=\"crispEdges\"><rect width=\"" << n_k << "\" height=\"" << n_q
       << "\" fill=\"#f2f2ee\"/><g fill=\"#3355bb\">";
  for (Index i = 0; i < n_q; ++i)
    for (Index j = 0, end; j < n_k; j = end) {  // one rectangle per run of keys
      for (end = j; end < n_k && pattern.sees(i + n_k - n_q, end);) ++end;
      if (end > j)
        file << "<rect x=\"" << j << "\" y=\"" << i << "\" width=\"" << end - j << "\" height=\"1\"/>";
      else
        ++end;
    }
  file << "</g></svg>\n";
  require<OptionError>(file.flush().good(), "write_picture: cannot write to '", path, "'");
}

}  // namespace heed
