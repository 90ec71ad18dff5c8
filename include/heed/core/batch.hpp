// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/require.hpp>
#include <heed/core/types.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <optional>
#include <vector>

namespace heed {

/// Rows `[begin, begin + size)` of a token matrix: one sequence.
struct Segment {
  Index begin = 0, size = 0;
  friend bool operator==(Segment, Segment) = default;
};

/// Which rows of the token matrices are which sequence. Sequence i has the queries `q[i]` and the keys `k[i]`; in
/// self-attention both are the same list. Rows in no segment are padding: nothing reads them, and outputs there are 0.
struct Batch {
  std::vector<Segment> q, k;

  /// One sequence of n tokens.
  static Batch one(Index n) { return ragged({n}); }
  /// Sequences one after another.
  static Batch ragged(const std::vector<Index>& lengths) {
    Batch b{lay(lengths, std::nullopt), {}};
    b.k = b.q;
    return b;
  }
  /// Sequence i starts at row i * stride: every sequence is padded to `stride` rows.
  static Batch padded(const std::vector<Index>& lengths, Index stride) {
    Batch b{lay(lengths, stride), {}};
    b.k = b.q;
    return b;
  }
  /// Queries of one batch against the keys of another, sequence by sequence.
  static Batch cross(const Batch& queries, const Batch& keys) { return {queries.q, keys.k}; }

  Index size() const { return static_cast<Index>(q.size()); }
  Segment queries(Index sequence) const { return q[static_cast<std::size_t>(sequence)]; }
  Segment keys(Index sequence) const { return k[static_cast<std::size_t>(sequence)]; }

  static Index longest(const std::vector<Segment>& segments) {
    Index n = 0;
    for (const Segment s : segments) n = std::max(n, s.size);
    return n;
  }

  /// Throws ShapeError unless the segments lie in ascending order, without overlap, inside matrices of these many rows.
  void check(Index q_rows, Index k_rows) const {
    require<ShapeError>(q.size() == k.size(), "batch: as many query as key segments expected, came ", q.size(), " and ",
                        k.size());
    check(q, q_rows, "q");
    check(k, k_rows, "k");
  }
  /// The same of one list, `batch.<name>`.
  static void check(const std::vector<Segment>& segments, Index rows, const char* name) {
    Index end = 0;
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const Segment s = segments[i];
      require<ShapeError>(s.size >= 0 && s.begin >= 0, "batch.", name, "[", i,
                          "]: begin and size must not be negative, came ", s.begin, " and ", s.size);
      require<ShapeError>(s.begin >= end, "batch.", name, "[", i,
                          "]: must not overlap the segments before it, which end at row ", end, ", but begins at row ",
                          s.begin);
      require<ShapeError>(s.begin <= rows && s.size <= rows - s.begin, "batch.", name, "[", i,
                          "]: leaves the matrix of ", rows, " rows, came [", s.begin, ", ", s.begin, " + ", s.size,
                          ")");
      end = s.begin + s.size;
    }
  }

 private:
  /// Every sequence takes `stride` rows, or as many as it has.
  static std::vector<Segment> lay(const std::vector<Index>& lengths, std::optional<Index> stride) {
    std::vector<Segment> segments;
    segments.reserve(lengths.size());
    Index at = 0;
    for (const Index n : lengths) {
      require<ShapeError>(n >= 0, "batch: lengths must not be negative, came ", n);
      require<ShapeError>(!stride || n <= *stride, "batch: a length of ", n, " does not fit the stride ",
                          stride.value_or(0));
      segments.push_back({at, n});
      const Index rows = stride.value_or(n);
      require<ShapeError>(rows <= std::numeric_limits<Index>::max() - at,
                          "batch: lengths that add up to more rows than can be counted");
      at += rows;
    }
    return segments;
  }
};

/// Calls `f(Segment)` for the longest runs of adjacent segments: what one matrix product may cover.
template <class F>
void for_each_run(const std::vector<Segment>& segments, F&& f) {
  Segment run{0, 0};
  for (const Segment s : segments) {
    if (s.size == 0) continue;
    if (run.size > 0 && s.begin == run.begin + run.size) {
      run.size += s.size;
    } else {
      if (run.size > 0) f(run);
      run = s;
    }
  }
  if (run.size > 0) f(run);
}

/// Calls `f(Segment)` for the rows of a matrix that lie in no segment.
template <class F>
void for_each_gap(const std::vector<Segment>& segments, Index rows, F&& f) {
  Index at = 0;
  for_each_run(segments, [&](Segment run) {
    if (run.begin > at) f(Segment{at, run.begin - at});
    at = run.begin + run.size;
  });
  if (at < rows) f(Segment{at, rows - at});
}

}  // namespace heed
