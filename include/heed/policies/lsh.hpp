// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/angular_hash.hpp>
#include <heed/kernels/bucket_chunks.hpp>
#include <heed/kernels/chunk_block.hpp>
#include <heed/kernels/merge.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>
#include <heed/projections/tied.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace heed {

/// How a key counts that a query meets several times, in several rounds.
enum class Duplicates {
  once,    ///< as one key: the softmax runs over the union of what the rounds show
  counted  ///< N times, as log N on its score: what the authors' code does
};

/// What hashing chose: the bucket of every token in every round `[rounds, n]`.
struct BucketChoices {
  Buffer<std::int32_t> buckets;
};

/// LSH attention (Reformer): queries are the keys, and attend where locality-sensitive hashing puts like to like.
///
///   o_i = sum_j p_ij v_j,  p_i = softmax_{j in P_i}(scale q_i.k_j),  k_j = q_j / |q_j|.
///   In each round the tokens are sorted by bucket - argmax([q R; -q R]) for a random rotation R - and by time, and cut
///   into chunks; a query meets its chunk and the one before. P_i is the union over the rounds, without i itself, which
///   is attended only where there is nothing else; causal: j <= i.
///
/// Cost:        2 chunk rounds n (d + d_v) multiply-adds; hashing rounds n d b / 2 for b <= 128 buckets, about rounds n
///              d b^(1/2) above, in two digits. Saves the buckets: rounds n numbers of 4 bytes. No streaming.
/// Exactness:   exact on the pairs that share chunks; an approximation of softmax over all, better with every round. A
///              bucket longer than two chunks loses pairs.
/// Causality:   of values only: later keys move the borders of chunks, and so what earlier queries see.
/// Not finite:  NaN and infinity in a key make every row NaN that meets it, and its own; in a value, every row that
///              meets it. A zero vector has the key 0, falls into bucket 0, and takes no gradient as a key.
/// Paper:       Kitaev, Kaiser, Levskaya 2020, arXiv 2001.04451, equations 2 to 6 and 11 to 16. The authors' code:
///              LookBackWrap::flat and Duplicates::counted.
/// Limitation:  it cannot stream: a new token would move the chunks of all before.
template <class S>
class Lsh {
 public:
  static constexpr std::string_view name = "Lsh";
  static constexpr About about{"n rounds chunk time, n memory", "exact in hashed chunks",
                               "Kitaev et al. 2020, arXiv 2001.04451"};
  using Scalar = S;
  template <class M>
  using Fields = Tied<M>;
  using Projection = ProjectTied<S>;

  struct Options {
    bool causal = false;     ///< row i sees keys j <= i only
    Index rounds = 4;        ///< hashings, each with a rotation of its own
    Index buckets = 0;       ///< of a round, even; 0: about n / chunk, up to 16384
    Index chunk = 64;        ///< tokens of a chunk
    std::uint64_t seed = 0;  ///< of the rotations, which all heads share
    S scale = 1;             ///< of q.k with |k| = 1, as the authors have it; 1 / sqrt(d) in lucidrains' code
    LookBackWrap look_back_wrap = LookBackWrap::per_round;  ///< what the first chunk of a round looks back to
    Duplicates duplicates = Duplicates::once;               ///< how a key counts that several rounds show
  };
  using Params = NoParams;
  using Shared = NoParams;
  struct Context {};
  using Cache = BucketChoices;
  using Choices = BucketChoices;

  static std::vector<Preset<Options>> presets() {
    return {{"rounds:1", {.rounds = 1}},
            {"rounds:4", {.rounds = 4}},
            {"rounds:1", {.causal = true, .rounds = 1}},
            {"rounds:2", {.rounds = 2}, 65536, true},
            {"rounds:8", {.rounds = 8}, 65536, true}};
  }

  Lsh(const Options& options, HeadShape shape)
      : options_(checked(options)),
        shape_(shape),
        hash_(shape.key_dim, options.rounds, options.buckets, options.chunk, options.seed) {}

  HeadShape shape() const { return shape_; }
  Causality causality() const { return options_.causal ? Causality::values_only : Causality::none; }
  /// The buckets of a round over n tokens.
  Index buckets(Index n) const { return hash_.buckets(n); }

  Cost cost(CallShape call) const {
    const Index n = call.queries;
    const double d = static_cast<double>(shape_.key_dim), d_v = static_cast<double>(shape_.value_dim);
    const double pairs = static_cast<double>(pairs_of(n));
    Cost c;
    c.forward = pairs * (d + d_v) + hash_.multiply_adds(n);
    c.backward = pairs * (3 * d + 2 * d_v);
    c.saved = static_cast<std::size_t>(options_.rounds * n) * sizeof(std::int32_t);
    const Index rows = std::min(n, options_.chunk), keys = 2 * rows;
    const std::size_t sorted = bytes_of([&](const auto& take) {
      BucketChunks(n, options_.rounds, options_.chunk, hash_.buckets_up_to(n), options_.look_back_wrap, take);
    });
    const auto block = [&](bool backward) {
      return bytes_of([&](const auto& take) {
        detail::ChunkBlock<S>(options_.chunk, n, compared(options_.rounds), shape_.key_dim, shape_.value_dim, backward,
                              take);
      });
    };
    const std::size_t near =
        options_.rounds > 1 ? Arena::size_of<S>(n * shape_.key_dim) + 2 * Arena::size_of<S>(n * shape_.value_dim) : 0;
    c.forward_scratch =
        std::max(hash_.scratch(n), sorted + block(false) + near +
                                       softmax_forward_scratch<S>(rows, keys, shape_.key_dim, shape_.value_dim, false));
    c.backward_scratch = sorted + block(true) + 2 * Arena::size_of<S>(n) +
                         softmax_backward_scratch<S>(rows, keys, shape_.key_dim, shape_.value_dim, false);
    return c;
  }

  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  void check(const Head<Lsh>&, CallShape call) const {
    const Index most = std::numeric_limits<std::int32_t>::max() / options_.rounds;
    require<ShapeError>(call.queries == call.keys, "batch: as many keys as queries expected, ", call.queries, ", came ",
                        call.keys);
    require<ShapeError>(call.queries <= most, "batch: sequences of up to ", most, " tokens expected, came ",
                        call.queries);
  }
  void reserve(CallShape call, Cache& cache) const { cache.buckets.reserve(options_.rounds * call.queries); }

  void choose(const Head<Lsh>&, const Tied<ConstView<S>>& in, Cache& cache, Arena& scratch) const {
    hash_(in.qk, cache.buckets.resize(options_.rounds, in.qk.rows()).data(), scratch);
  }
  Choices& choices(Cache& cache) const { return cache; }

  void forward(const Head<Lsh>&, const Tied<ConstView<S>>& in, Out<S> out, const Cache& cache, Arena& scratch) const {
    const Index n = in.qk.rows(), d_v = shape_.value_dim;
    if (n == 0) return;
    const Arena::Frame frame(scratch);
    const BucketChunks chunks = sorted(cache, n, scratch);
    detail::ChunkBlock<S> block = gathered(n, false, scratch);
    const ConstView<S> qk = near(in.qk, scratch), v = near(in.v, scratch);
    const View<S> o = options_.rounds > 1 ? scratch.matrix<S>(n, d_v) : out.o;
    detail::for_each_block(chunks, [&](Index round, Range at) {
      block.gather(chunks, at, compared(round), qk, v);
      block.for_each_chunk(chunks, at, [&](Index first, Index rows, Index key) {
        softmax_forward(pattern(block, round, first, key), NoTerm{}, logits(), block.fields(first, rows, key),
                        {0, rows},
                        Out<S>{block.tile(block.o, first, rows, d_v), VectorView<S>(block.lse + first, rows)}, scratch);
      });
      detail::for_each_ahead(
          {block.behind, block.size}, [&](Index s) { detail::prefetch(row(o, block.token[s]), d_v); },
          [&](Index s) {
            const Index t = block.token[s];
            if (round == 0) {
              std::copy_n(block.o + s * d_v, d_v, row(o, t));
              out.lse(t) = block.lse[s];
            } else {
              merge_row(row(o, t), out.lse(t), block.o + s * d_v, block.lse[s], d_v);
            }
          });
    });
    for (Index t = 0; t < n; ++t) {
      if (chunks.alone(static_cast<std::int32_t>(t), options_.causal))
        see_itself(in, t, block.k, out);
      else if (options_.rounds > 1)
        std::copy_n(row(o, t), d_v, row(out.o, t));
    }
  }

  /// With the log-sum-exps over all rounds, every round gives its own part of the gradients.
  void backward(const Head<Lsh>&, const Tied<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout, const Cache& cache,
                const Tied<View<S>>& din, const HeadGradient<Lsh>&, Arena& scratch) const {
    const Index n = in.qk.rows(), d = shape_.key_dim, d_v = shape_.value_dim;
    if (n == 0) return;
    const Arena::Frame frame(scratch);
    const BucketChunks chunks = sorted(cache, n, scratch);
    S *const total = scratch.take<S>(n), *const shift = scratch.take<S>(n);  // dlse - D
    detail::ChunkBlock<S> block = gathered(n, true, scratch);
    std::fill_n(block.zeros, d_v, S(0));

    for (Index t = 0; t < n; ++t) {
      const S dlse = dout.lse.size() > 0 ? dout.lse(t) : S(0);
      total[t] = out.lse(t);
      shift[t] = dlse - detail::dot_product(row(dout.o, t), row(out.o, t), d_v);
      if (!chunks.alone(static_cast<std::int32_t>(t), options_.causal)) continue;
      total[t] = -std::numeric_limits<S>::infinity();  // o_t = v_t, lse_t = scale |q_t|
      detail::unit_row(row(in.qk, t), d, block.k);
      for (Index e = 0; e < d_v; ++e) row(din.v, t)[e] += dout.o(t, e);
      for (Index e = 0; e < d; ++e) row(din.qk, t)[e] += options_.scale * dlse * block.k[e];
    }
    detail::for_each_block(chunks, [&](Index round, Range at) {
      block.gather(chunks, at, compared(round), in.qk, in.v);
      detail::for_each_ahead(
          {block.behind, block.size}, [&](Index s) { detail::prefetch(row(dout.o, block.token[s]), d_v); },
          [&](Index s) {
            const Index t = block.token[s];
            std::copy_n(row(dout.o, t), d_v, block.o + s * d_v);
            block.lse[s] = shift[t];
            block.total[s] = total[t];
          });
      std::fill_n(block.dq, block.size * d, S(0));
      std::fill_n(block.dk, block.size * d, S(0));
      std::fill_n(block.dv, block.size * d_v, S(0));
      block.for_each_chunk(chunks, at, [&](Index first, Index rows, Index key) {
        // D is the same in all rounds, and stands in the cotangent of lse: the rows of o may be zeros.
        const ConstOut<S> made{{block.zeros, rows, d_v, Eigen::OuterStride<>(0)}, {block.total + first, rows}};
        const ConstOut<S> dmade{view(block.tile(block.o, first, rows, d_v)), {block.lse + first, rows}};
        const Index keys = first + rows - key;
        softmax_backward(pattern(block, round, first, key), NoTerm{}, logits(), block.fields(first, rows, key), made,
                         dmade,
                         Qkv<View<S>>{block.tile(block.dq, first, rows, d), block.tile(block.dk, key, keys, d),
                                      block.tile(block.dv, key, keys, d_v)},
                         scratch);
      });
      detail::for_each_ahead(
          {0, block.size},
          [&](Index s) {
            detail::prefetch(row(din.qk, block.token[s]), d);
            detail::prefetch(row(din.v, block.token[s]), d_v);
          },
          [&](Index s) {
            S *const dqk = row(din.qk, block.token[s]), *const dv = row(din.v, block.token[s]);
            for (Index e = 0; e < d; ++e) dqk[e] += block.dq[s * d + e];
            detail::unit_row_backward(block.k + s * d, block.norm[s], block.dk + s * d, d, dqk);
            for (Index e = 0; e < d_v; ++e) dv[e] += block.dv[s * d_v + e];
          });
    });
  }

 private:
  static Options checked(const Options& o) {
    require<OptionError>(o.rounds >= 1, "options.rounds: at least 1 expected, came ", o.rounds);
    require<OptionError>(o.chunk >= 1, "options.chunk: at least 1 expected, came ", o.chunk);
    require<OptionError>(o.buckets >= 0 && o.buckets % 2 == 0 && o.buckets <= AngularHash<S>::most,
                         "options.buckets: an even number up to ", AngularHash<S>::most,
                         ", or 0 (about n / chunk), expected, came ", o.buckets);
    require<OptionError>(std::isfinite(o.scale), "options.scale: a finite number expected, came ", o.scale);
    return o;
  }

  /// Scores: of queries with the keys they meet, over all rounds.
  Index pairs_of(Index n) const {
    if (n == 0) return 0;
    const Index size = std::min(options_.chunk, n), full = n / size, rest = n % size, chunks = full + (rest > 0);
    Index pairs = full * size * size + rest * rest;   // a chunk with itself
    pairs += (full - 1) * size * size + rest * size;  // and with the one before
    const Index last = rest > 0 ? rest : size;        // the first with the last
    const bool wraps = options_.look_back_wrap == LookBackWrap::per_round
                           ? chunks > 1
                           : options_.look_back_wrap == LookBackWrap::flat && chunks * options_.rounds > 1;
    return options_.rounds * (pairs + (wraps ? size * last : 0));
  }

  bool once() const { return options_.duplicates == Duplicates::once && options_.rounds > 1; }
  bool flat() const { return options_.look_back_wrap == LookBackWrap::flat; }
  /// How many rounds' chunks are compared in a round, so that no pair counts twice.
  Index compared(Index round) const { return !once() ? 0 : flat() ? options_.rounds : round; }
  Logits<S> logits() const { return {options_.scale, S(0)}; }

  BucketChunks sorted(const Cache& cache, Index n, Arena& scratch) const {
    const Index b = buckets(n);
    const auto chosen = cache.buckets.view();
    require<StateError>(chosen.rows() == options_.rounds && chosen.cols() == n, "cache: the buckets of ",
                        options_.rounds, " rounds and ", n, " tokens expected, came ", chosen.rows(), " and ",
                        chosen.cols());
    require<StateError>(chosen.minCoeff() >= 0 && chosen.maxCoeff() < b, "cache: buckets in [0, ", b,
                        ") expected, came up to ", chosen.maxCoeff());
    BucketChunks chunks(n, options_.rounds, options_.chunk, b, options_.look_back_wrap,
                        [&]<class T>(T*, Index count) { return scratch.take<T>(count); });
    chunks.sort(chosen.data(), b);
    return chunks;
  }
  detail::ChunkBlock<S> gathered(Index n, bool backward, Arena& scratch) const {
    return {options_.chunk,
            n,
            compared(options_.rounds),
            shape_.key_dim,
            shape_.value_dim,
            backward,
            [&]<class T>(T*, Index count) { return scratch.take<T>(count); }};
  }
  /// The rows side by side, where rounds read them again and again: heads that lie strided miss the caches.
  ConstView<S> near(ConstView<S> m, Arena& scratch) const {
    if (options_.rounds == 1) return m;
    View<S> copy = scratch.matrix<S>(m.rows(), m.cols());
    detail::pack(m.rows(), m.cols(), m.data(), m.outerStride(), copy.data(), m.cols());
    return view(copy);
  }
  /// The bytes of what f(take) takes.
  template <class F>
  static std::size_t bytes_of(const F& f) {
    std::size_t bytes = 0;
    f([&]<class T>(T* none, Index count) {
      bytes += Arena::size_of<T>(count);
      return none;
    });
    return bytes;
  }

  ChunkPattern pattern(const detail::ChunkBlock<S>& block, Index round, Index row, Index key) const {
    return {.token = block.token + key,
            .chunk = block.chunk + key,
            .back = block.back + key,
            .stride = block.stride,
            .own = row - key,
            .rounds = options_.rounds,
            .round = round,
            .earlier = once() ? round : 0,
            .causal = options_.causal,
            .flat = flat(),
            .once = once()};
  }
  /// A view by value: its rows may be written to.
  template <class M>
  static auto row(M m, Index t) {
    return m.data() + t * m.outerStride();
  }
  /// Row t has nothing else: o_t = v_t, lse_t = scale q_t.k_t, or NaN.
  void see_itself(const Tied<ConstView<S>>& in, Index t, S* k, Out<S> out) const {
    const S score = options_.scale * detail::unit_row(in.qk.data() + t * in.qk.outerStride(), shape_.key_dim, k);
    out.lse(t) = score;
    for (Index e = 0; e < out.o.cols(); ++e) out.o(t, e) = in.v(t, e) + (score - score);
  }

  Options options_;
  HeadShape shape_;
  AngularHash<S> hash_;
};
static_assert(RegisteredPolicy<Lsh<float>> && ChoosingPolicy<Lsh<float>>);

}  // namespace heed
