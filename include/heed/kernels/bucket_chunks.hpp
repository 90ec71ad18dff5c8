// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/simd.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

/// Tokens sorted by bucket and cut into chunks, several times over (rounds): who sees whom in Reformer's attention.
///
/// In every round the tokens, stably sorted, fill `chunks` chunks; a chunk sees itself and one chunk back. Chunks are
/// numbered through all rounds: round r has [r chunks, (r + 1) chunks).

namespace heed {

/// What the first chunk of a round looks back to.
enum class LookBackWrap {
  per_round,  ///< the last chunk of its round
  flat,       ///< the last chunk of the round before, round 0 that of the last: what the authors' code does
  none        ///< nothing, as in the paper
};

/// Which pairs a chunking shows; see above. Buffers are the caller's (Arena).
struct BucketChunks {
  std::int32_t n = 0, rounds = 1, size = 1, chunks = 0;
  LookBackWrap wrap = LookBackWrap::per_round;
  std::int32_t *order = nullptr, *chunk = nullptr;  // [rounds][n]: the token of a slot, the chunk of a token
  std::int32_t *first = nullptr, *last = nullptr;   // [rounds * chunks]: the smallest and largest token of a chunk
  std::int32_t* before = nullptr;                   // [rounds * chunks]: the chunk it looks back to, or -1
  std::int32_t* counts = nullptr;                   // [buckets + 1]

  /// Calls take(type, count) -> pointer for every buffer: the only list of them.
  template <class Take>
  BucketChunks(Index tokens, Index n_rounds, Index chunk_size, Index buckets, LookBackWrap look_back, const Take& take)
      : n(static_cast<std::int32_t>(tokens)),
        rounds(static_cast<std::int32_t>(n_rounds)),
        size(static_cast<std::int32_t>(std::min(chunk_size, std::max<Index>(tokens, 1)))),
        chunks((n + size - 1) / size),
        wrap(look_back) {
    const auto ids = [&](Index count) { return take(static_cast<std::int32_t*>(nullptr), count); };
    order = ids(n_rounds * tokens);
    chunk = ids(n_rounds * tokens);
    first = ids(n_rounds * chunks);
    last = ids(n_rounds * chunks);
    before = ids(n_rounds * chunks);
    counts = ids(buckets + 1);
  }

  /// Sorts the tokens by `bucket [rounds][n]`, each in [0, buckets): equals stay in the order of time.
  void sort(const std::int32_t* bucket, Index buckets) {
    std::fill_n(first, rounds * chunks, n);
    std::fill_n(last, rounds * chunks, -1);
    for (std::int32_t at = 0; at < rounds * chunks; ++at) before[at] = look_back(at);
    for (std::int32_t r = 0; r < rounds; ++r, bucket += n) {
      std::fill_n(counts, buckets + 1, 0);
      for (std::int32_t t = 0; t < n; ++t) ++counts[bucket[t] + 1];
      for (Index b = 0; b < buckets; ++b) counts[b + 1] += counts[b];
      for (std::int32_t t = 0; t < n; ++t) {
        const std::int32_t slot = counts[bucket[t]]++, at = r * chunks + slot / size;
        order[Index{r} * n + slot] = t;
        chunk[Index{r} * n + t] = at;
        first[at] = std::min(first[at], t);
        last[at] = std::max(last[at], t);
      }
    }
  }

  /// The slots of a chunk, in `order`.
  Range slots(std::int32_t at) const {
    const Index round = at / chunks, begin = Index{at % chunks} * size;
    return {round * n + begin, round * n + std::min<Index>(n, begin + size)};
  }
  /// Whether token t sees no token but itself, in any round.
  bool alone(std::int32_t t, bool causal) const {
    for (std::int32_t r = 0; r < rounds; ++r) {
      const std::int32_t own = chunk[Index{r} * n + t];
      for (const std::int32_t at : {own, before[own]})
        if (at >= 0 && (first[at] < t || (!causal && last[at] > t))) return false;
    }
    return true;
  }

 private:
  std::int32_t look_back(std::int32_t at) const {
    if (at % chunks > 0) return at - 1;
    if (wrap == LookBackWrap::none) return -1;
    const std::int32_t all = rounds * chunks;
    const std::int32_t back = wrap == LookBackWrap::flat ? (at + all - 1) % all : at + chunks - 1;
    return back == at ? -1 : back;
  }
};

/// The queries of one chunk against their keys: `own` keys of the chunk before, then the chunk itself. A key pattern in
/// the order of slots. Nobody sees itself; and with `earlier` rounds, nobody sees again whom it saw there.
struct ChunkPattern {
  const std::int32_t* token;  // of the keys; query and key of a token have the same place
  const std::int32_t* chunk;  // theirs in every round [.. rounds][stride]
  const std::int32_t* back;   // the chunks before these, in the earlier rounds [earlier][stride]
  Index stride = 0, own = 0;
  Index rounds = 1, round = 0, earlier = 0;
  bool causal = false, flat = false, once = false;

  void keys(Range, Index n_k, Ranges& ranges) const { ranges.add({0, n_k}); }
  bool all(Range, Range keys) const { return !causal && !flat && earlier == 0 && keys.end <= own; }
  bool sees(Index p, Index j) const {
    if (twice(j) || (causal ? token[p] <= token[j] : token[p] == token[j])) return false;
    for (Index t = 0; t < tests(); ++t)
      if (query_ids(t)[p] == key_ids(t)[j]) return false;
    return true;
  }

  /// The same for a tile of scores (`mask_tile`), whose queries stand one after another.
  template <class S>
  void mask(const Index* positions, Range keys, Index width, S hidden, S* s) const {
    Index t = 0;
    do {
      const Index left = tests() - t;
      if (left >= 6)
        hide<6>(t, positions[0], keys, width, hidden, s), t += 6;
      else if (left >= 4)
        hide<4>(t, positions[0], keys, width, hidden, s), t += 4;
      else if (left >= 2)
        hide<2>(t, positions[0], keys, width, hidden, s), t += 2;
      else if (left == 1)
        hide<1>(t, positions[0], keys, width, hidden, s), t += 1;
      else
        hide<0>(t, positions[0], keys, width, hidden, s);
    } while (t < tests());
  }

 private:
  /// Whether two met in an earlier round, as a list of ids that are equal then: in each round the key stood in the
  /// query's chunk, or in the one before, which may be of the round before.
  Index tests() const { return (flat ? 3 : 2) * earlier; }
  const std::int32_t* query_ids(Index t) const {
    return t < earlier ? chunk + t * stride : back + t % earlier * stride;
  }
  const std::int32_t* key_ids(Index t) const {
    const Index r = t % earlier;
    return chunk + (t < 2 * earlier ? r : (r + rounds - 1) % rounds) * stride;
  }
  /// A key of the round before may stand in the queries' own chunk as well.
  bool twice(Index j) const {
    return once && flat && j < own && chunk[round * stride + j] == chunk[round * stride + own];
  }

  /// `count` tests from `t` on, so few that they stay in registers.
  template <std::size_t count, class S>
  void hide(Index t, Index first, Range keys, Index width, S hidden, S* s) const {
    std::array<const std::int32_t*, count> queries, ids;
    for (std::size_t x = 0; x < count; ++x) {
      queries[x] = query_ids(t + static_cast<Index>(x)) + first;
      ids[x] = key_ids(t + static_cast<Index>(x));
    }
    for (Index j = keys.begin; j < keys.end; ++j, s += width) {
      if (twice(j)) {
        std::fill_n(s, width, hidden);
        continue;
      }
      const std::int32_t key = token[j];
      std::array<std::int32_t, count> id;
      for (std::size_t x = 0; x < count; ++x) id[x] = ids[x][j];
      for (Index r = 0; r < width; r += detail::lanes<S>)
#pragma GCC unroll 1
        for (Index i = r; i < r + detail::lanes<S>; ++i) {
          const std::int32_t query = token[first + i];
          bool hides = causal ? query <= key : query == key;
#pragma GCC unroll 6
          for (std::size_t x = 0; x < count; ++x) hides |= queries[x][i] == id[x];
          s[i] = hides ? hidden : s[i];
        }
    }
  }
};
static_assert(KeyPattern<ChunkPattern>);

}  // namespace heed
