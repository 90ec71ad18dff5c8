// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <vector>

namespace heed {

/// Which two columns of a head turn together.
enum class RotaryPairs {
  halves,      ///< j and j + dims / 2: GPT-NeoX, LLaMA
  interleaved  ///< 2 j and 2 j + 1: Su et al. 2021, GPT-J
};

/// Queries that are no keys: q and k.
template <class F>
concept QueriesAndKeys = requires(F fields) {
  fields.q;
  fields.k;
};

/// A projection whose queries and keys are q and k, in one set of fields or in both of two (LocalGlobal).
template <class T>
concept QueryKeyProjection = FieldProjection<T> &&
    (QueriesAndKeys<typename T::template Fields<int>> || requires(typename T::template Fields<int> fields) {
      requires QueriesAndKeys<decltype(fields.local)> && QueriesAndKeys<decltype(fields.global)>;
    });

/// Rotary positions around any projection that makes q and k: column pairs of every head turn by position * base^(-2 j /
/// dims), so that q.k depends on the distance alone (Su et al. 2021, arXiv 2104.09864, eqs. 12 to 15).
///
/// Positions count among the keys: query i of n_q stands at i + n_k - n_q, and a stream goes on where it stopped. For
/// every policy that reads q and k, Longformer's two sets of them too; one that ties them does not compile.
template <QueryKeyProjection Inner>
class Rotary {
 public:
  using Scalar = typename Inner::Scalar;
  using S = Scalar;
  template <class M>
  using Fields = typename Inner::template Fields<M>;
  static constexpr bool crosses = Inner::crosses;

  struct Options {
    typename Inner::Options inner{};
    RotaryPairs pairs = RotaryPairs::halves;
    Index dims = 0;  ///< the first columns of each head that turn, an even number; 0: all of them
    double base = 10000;
  };
  using Params = typename Inner::Params;
  struct State {
    typename Inner::State inner;
    std::vector<Index> sizes;  // tokens so far
  };

  Rotary(const Options& options, const ProjectionShape& shape)
      : inner_(options.inner, shape), pairs_(options.pairs), width_(shape.key_dim) {
    const Index dims = options.dims == 0 ? shape.key_dim : options.dims;
    require<OptionError>(dims > 0 && dims % 2 == 0 && dims <= shape.key_dim,
                         "options.projection.dims: an even number up to head_dim = ", shape.key_dim,
                         ", or 0 for an even head_dim, expected, came ", options.dims);
    require<OptionError>(options.base > 0 && std::isfinite(options.base),
                         "options.projection.base: a positive number expected, came ", options.base);
    for (Index j = 0; j < dims / 2; ++j) {
      frequency_.push_back(std::pow(options.base, -2 * static_cast<double>(j) / static_cast<double>(dims)));
      step_cosine_.push_back(std::cos(frequency_.back()));
      step_sine_.push_back(std::sin(frequency_.back()));
    }
  }

  Params init(Random& random) const { return inner_.init(random); }
  void check(const Params& p) const { inner_.check(p); }
  std::size_t scratch(Index q_rows, Index k_rows) const {
    return std::max(inner_.scratch(q_rows, k_rows),
                    2 * Arena::size_of<double>(pairs()) + 2 * Arena::size_of<S>(pairs()));
  }

  void forward(const Params& p, ConstView<S> x, ConstView<S> memory, const Batch& batch, Fields<Buffer<S>>& fields,
               Workers& workers) const {
    inner_.forward(p, x, memory, batch, fields, workers);
    turn_among_keys(batch, fields, 1, workers);
  }
  /// Turns the gradients of q and k back, in place.
  void backward(const Params& p, ConstView<S> x, ConstView<S> memory, const Batch& batch, Fields<Buffer<S>>& dfields,
                Params& g, View<S> dx, View<S> dmemory, Workers& workers) const {
    turn_among_keys(batch, dfields, -1, workers);
    inner_.backward(p, x, memory, batch, dfields, g, dx, dmemory, workers);
  }

  State start(Index sequences) const {
    return {inner_.start(sequences), std::vector<Index>(static_cast<std::size_t>(sequences), 0)};
  }
  void step(const Params& p, State& state, ConstView<S> x, const Batch& batch, Fields<Buffer<S>>& fields,
            Workers& workers) const {
    inner_.step(p, state.inner, x, batch, fields, workers);
    const auto so_far = [&](std::size_t s) { return state.sizes[s]; };
    turn_all(batch, fields, so_far, so_far, 1, workers);
    for (std::size_t s = 0; s < batch.q.size(); ++s) state.sizes[s] += batch.q[s].size;
  }

 private:
  Index pairs() const { return static_cast<Index>(frequency_.size()); }

  void turn_among_keys(const Batch& batch, Fields<Buffer<S>>& fields, S sign, Workers& workers) const {
    const auto first_query = [&](std::size_t s) { return batch.k[s].size - batch.q[s].size; };
    const auto first_key = [](std::size_t) { return Index{0}; };
    turn_all(batch, fields, first_query, first_key, sign, workers);
  }
  template <class FirstQuery, class FirstKey>
  void turn_all(const Batch& batch, Fields<Buffer<S>>& fields, const FirstQuery& first_query, const FirstKey& first_key,
                S sign, Workers& workers) const {
    const auto turn_field = [&](Field f, Buffer<S>& m) {
      const std::string_view name = f.name;
      if (name == "q") turn(m.view(), batch.q, first_query, sign, workers);
      if (name == "k") turn(m.view(), batch.k, first_key, sign, workers);
      return 0;
    };
    Fields<Buffer<S>>::map(turn_field, fields);
  }

  /// From the angles of one position to those of the next.
  void advance(double* cosine, double* sine) const {
    for (std::size_t j = 0; j < frequency_.size(); ++j) {
      const double x = cosine[j], y = sine[j];
      cosine[j] = x * step_cosine_[j] - y * step_sine_[j];
      sine[j] = y * step_cosine_[j] + x * step_sine_[j];
    }
  }

  /// Turns row i of sequence s by the position first(s) + i. Sines are evaluated at every 32nd position and follow from
  /// there by rotations in double: they depend on the position alone, and are right to 1e-14.
  template <class First>
  void turn(View<S> m, const std::vector<Segment>& segments, const First& first, S sign, Workers& workers) const {
    constexpr Index step = 32;  // rows of a task, and positions between two evaluations
    const Index n = pairs();
    workers.run((m.rows() + step - 1) / step, [&](Index task, Arena& scratch) {
      double *const cosine = scratch.take<double>(n), *const sine = scratch.take<double>(n);
      S *const c = scratch.take<S>(n), *const s = scratch.take<S>(n);
      const Range all{task * step, std::min(m.rows(), (task + 1) * step)};
      for (std::size_t i = 0; i < segments.size(); ++i) {
        const Range rows = intersect(all, {segments[i].begin, segments[i].begin + segments[i].size});
        if (rows.empty()) continue;
        Index at = 0;  // the position that cosine and sine are of
        for (Index row = rows.begin; row < rows.end; ++row) {
          const Index position = first(i) + row - segments[i].begin;
          const Index anchor = position - ((position % step) + step) % step;
          if (row == rows.begin || position == anchor) {
            at = anchor;
            for (Index j = 0; j < n; ++j) {
              const double angle = static_cast<double>(anchor) * frequency_[static_cast<std::size_t>(j)];
              cosine[j] = std::cos(angle);
              sine[j] = std::sin(angle);
            }
          }
          for (; at < position; ++at) advance(cosine, sine);
          for (Index j = 0; j < n; ++j) {
            c[j] = static_cast<S>(cosine[j]);
            s[j] = sign * static_cast<S>(sine[j]);
          }
          S* const from = m.data() + row * m.outerStride();
          for (Index head = 0; head < m.cols(); head += width_) turn_head(from + head, c, s);
        }
      }
    });
  }
  void turn_head(S* v, const S* c, const S* s) const {
    const Index n = pairs();
    const bool halves = pairs_ == RotaryPairs::halves;
    const Index apart = halves ? n : 1, each = halves ? 1 : 2;
    for (Index j = 0; j < n; ++j) {
      S &a = v[j * each], &b = v[j * each + apart];
      const S x = a, y = b;
      a = x * c[j] - y * s[j];
      b = y * c[j] + x * s[j];
    }
  }

  Inner inner_;
  RotaryPairs pairs_;
  Index width_;
  std::vector<double> frequency_, step_cosine_, step_sine_;  // per pair: radians per position, and their turn
};

}  // namespace heed
