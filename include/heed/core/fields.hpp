// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

/// Fields: what a projection makes, a policy reads and a gradient writes.
///
/// One struct template lists them once. Filled with `Matrix<S>` it is the whole batch, with `ConstView<S>` one head of
/// one sequence, with `View<S>` the gradient of that head. `map` is the only list of the members: it calls `f(Field,
/// members...)` for each and returns the same struct of the results.

namespace heed {

/// Which segments the rows of a field follow.
enum class Rows {
  queries,  ///< the query segments of the batch
  keys,     ///< its key segments
  fixed     ///< no segment: every head of every sequence sees all rows (a table of distances)
};

/// Whose width one head of a field has.
enum class Width {
  key,    ///< that of a key
  value,  ///< that of a value
  one     ///< a single number
};

/// One entry of a field list. `grouped`: one block of columns per key/value head, shared by the query heads of its
/// group.
struct Field {
  const char* name = "";
  Rows rows = Rows::queries;
  Width width = Width::key;
  bool grouped = false;
};

/// Plain queries, keys and values: `q [n_q, d]`, `k [n_k, d]`, `v [n_k, d_v]` for one head.
template <class M>
struct Qkv {
  M q, k, v;
  template <class F, class... X>
  static auto map(F&& f, X&... x) {
    using R = decltype(f(Field{}, x.q...));
    return Qkv<R>{f(Field{"q", Rows::queries, Width::key, false}, x.q...),
                  f(Field{"k", Rows::keys, Width::key, true}, x.k...),
                  f(Field{"v", Rows::keys, Width::value, true}, x.v...)};
  }
};

/// One row of results per query: the output and the log-sum-exp of the row's logits, so that results over disjoint keys
/// merge. A row that sees no key has output 0 and log-sum-exp -inf. As a cotangent, an empty `lse` stands for zeros.
template <class M, class V>
struct Result {
  M o;
  V lse;
};
template <class S>
using Out = Result<View<S>, VectorView<S>>;
template <class S>
using ConstOut = Result<ConstView<S>, ConstVectorView<S>>;

}  // namespace heed
