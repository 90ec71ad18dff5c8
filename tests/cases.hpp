// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "oracle.hpp"

/// A policy under test is named by a family, a struct with `template <class S> using Of = ...`, so that one law can
/// take it in float, double and long double.

/// One call of a policy: everything that decides it.
template <class P>
struct Case {
  std::string label;
  typename P::Options options;
  heed::HeadShape shape;
  heed::CallShape call;
  std::uint64_t seed = 1;
  int context = 0;  // which kind of caller's data; the policy's Cases know
  heed::Index sequence = 0, head = 0;
};

/// What the laws know of a policy. Specialise it in the policy's test, with
/// - `all()`: cases, as a pairwise product of options and shapes, off every tile; `small()`: a few tiny ones for
/// differences;
/// - `options(heads)`: what `Attention` runs with;
/// - `context(case, storage)`: the caller's data, whose matrices live in `storage` (gradients after values);
/// - `answer(case, instance)`: the oracle.
/// Where the rows of a policy see more than the keys, or average something else than the values:
/// - `sees_besides(case)`: every row sees something that is no key;
/// - `values(case, instance)`: what the rows average, and `reach(case, instance)`: how many times larger than the values
/// the sums on the way to it may be.
template <class P>
struct Cases;

/// The numbers of a case.
template <class P>
struct Instance {
  using S = typename P::Scalar;
  typename P::template Fields<heed::Matrix<S>> fields;
  typename P::Params own;
  typename P::Shared shared;
  std::vector<heed::Matrix<S>> storage;  // that the context looks at
  typename P::Context context;
  heed::Matrix<S> d_o;
  heed::Vector<S> d_lse;
};

/// Whether queries are the keys: one field, `qk`.
template <class P>
concept TiedPolicy = requires(typename P::template Fields<int> f) {
  f.qk;
};
template <class F>
auto& queries_of(F& fields) {
  if constexpr (requires { fields.qk; })
    return fields.qk;
  else
    return fields.q;
}
template <class F>
auto& keys_of(F& fields) {
  if constexpr (requires { fields.qk; })
    return fields.qk;
  else
    return fields.k;
}

template <class P>
heed::Index field_rows(heed::Field f, heed::CallShape call) {
  return f.rows == heed::Rows::queries ? call.queries : call.keys;
}
template <class P>
heed::Index field_cols(heed::Field f, heed::HeadShape shape) {
  return f.width == heed::Width::one ? 1 : f.width == heed::Width::key ? shape.key_dim : shape.value_dim;
}

template <class P>
void make(const Case<P>& c, const P& policy, Instance<P>& i, double deviation = 1) {
  using S = typename P::Scalar;
  heed::Random random(c.seed);
  typename P::template Fields<int> names{};
  i.fields = P::template Fields<int>::map(
      [&](heed::Field f, int&) -> heed::Matrix<S> {
        return heed::random_normal<S>(random, field_rows<P>(f, c.call), field_cols<P>(f, c.shape), deviation);
      },
      names);
  i.own = policy.init(random);
  i.shared = policy.init_shared(random);
  i.d_o = heed::random_normal<S>(random, c.call.queries, c.shape.value_dim, 1);
  i.d_lse = heed::random_normal<S>(random, c.call.queries, 1, 1);
  i.storage.clear();
  i.context = Cases<P>::context(c, i.storage);
}

/// Results and gradients of one call.
template <class P>
struct Results {
  using S = typename P::Scalar;
  typename P::Cache cache;
  heed::Matrix<S> o;
  heed::Vector<S> lse;
  typename P::template Fields<heed::Matrix<S>> d;
  typename P::Params d_own;
  typename P::Shared d_shared;
};

template <class P>
bool sees_besides(const Case<P>& c) {
  if constexpr (requires { Cases<P>::sees_besides(c); })
    return Cases<P>::sees_besides(c);
  else
    return false;
}
template <class P>
typename P::Scalar reach_of_values(const Case<P>& c, const Instance<P>& i) {
  if constexpr (requires { Cases<P>::reach(c, i); })
    return Cases<P>::reach(c, i);
  else
    return 1;
}

template <class P>
heed::Head<P> head_of(const Case<P>& c, const Instance<P>& i) {
  return {i.own, i.shared, i.context, c.sequence, c.head};
}
template <class F>
auto views(const F& fields) {
  return F::map([](heed::Field, const auto& m) { return heed::view(m); }, fields);
}
template <class F>
auto views(F& fields) {
  return F::map([](heed::Field, auto& m) { return heed::view(m); }, fields);
}

/// Makes the choices of a policy that has some.
template <class P>
void choose(const P& policy, const Case<P>& c, const Instance<P>& i, typename P::Cache& cache, heed::Arena& scratch) {
  if constexpr (heed::ChoosingPolicy<P>) policy.choose(head_of(c, i), views(i.fields), cache, scratch);
}
/// The usual call: results are filled with NaN before, gradients with zeros. `replay` makes no new choices.
template <class P>
void replay(const P& policy, const Case<P>& c, const Instance<P>& i, Results<P>& r, heed::Arena& scratch) {
  using S = typename P::Scalar;
  r.o.setConstant(c.call.queries, c.shape.value_dim, std::numeric_limits<S>::quiet_NaN());
  r.lse.setConstant(c.call.queries, std::numeric_limits<S>::quiet_NaN());
  const heed::Arena::Frame frame(scratch);
  policy.forward(head_of(c, i), views(i.fields), {heed::view(r.o), heed::view(r.lse)}, r.cache, scratch);
}
template <class P>
void forward(const P& policy, const Case<P>& c, const Instance<P>& i, Results<P>& r, heed::Arena& scratch) {
  {
    const heed::Arena::Frame frame(scratch);
    choose(policy, c, i, r.cache, scratch);
  }
  replay(policy, c, i, r, scratch);
}
template <class P>
void backward(const P& policy, const Case<P>& c, const Instance<P>& i, Results<P>& r, heed::Arena& scratch) {
  const heed::Arena::Frame frame(scratch);
  policy.backward(head_of(c, i), views(i.fields), {heed::view(std::as_const(r.o)), heed::view(std::as_const(r.lse))},
                  {heed::view(i.d_o), heed::view(i.d_lse)}, r.cache, views(r.d),
                  heed::HeadGradient<P>{r.d_own, r.d_shared}, scratch);
}
template <class P>
void clear_gradients(const Instance<P>& i, Results<P>& r) {
  r.d = i.fields;
  P::template Fields<heed::Matrix<typename P::Scalar>>::map([](heed::Field, auto& m) { return m.setZero(), 0; }, r.d);
  r.d_own = heed::zeros_like(i.own);
  r.d_shared = heed::zeros_like(i.shared);
}

template <class P>
struct Run {
  P policy;
  Instance<P> in;
  Results<P> out;
  heed::Arena scratch;
  explicit Run(const Case<P>& c, double deviation = 1) : policy(c.options, c.shape) { make(c, policy, in, deviation); }
  void forward(const Case<P>& c) { ::forward(policy, c, in, out, scratch); }
  /// With the choices of another run.
  void replay(const Case<P>& c, const typename P::Cache& chosen) {
    if constexpr (heed::ChoosingPolicy<P>) out.cache = chosen;
    ::replay(policy, c, in, out, scratch);
  }
  void backward(const Case<P>& c) {
    clear_gradients(in, out);
    ::backward(policy, c, in, out, scratch);
  }
};

/// The sets of queries, keys and values through which rows see keys, each with who sees whom through it: the fields
/// themselves, unless `Cases<P>` has several `sets` and says which `set(fields, s)` is and what is `seen(case, in, s)`.
template <class P>
constexpr int set_count() {
  if constexpr (requires { Cases<P>::sets; })
    return Cases<P>::sets;
  else
    return 1;
}
template <class P, class F>
auto& set_of(F& fields, int s) {
  if constexpr (requires { Cases<P>::sets; })
    return Cases<P>::set(fields, s);
  else
    return static_cast<void>(s), fields;
}
/// What the rows average through set s.
template <class P>
heed::Matrix<typename P::Scalar> averaged_values(const Case<P>& c, const Instance<P>& i, int s) {
  if constexpr (requires { Cases<P>::values(c, i); })
    return static_cast<void>(s), Cases<P>::values(c, i);
  else
    return set_of<P>(i.fields, s).v;
}
using Grid = Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic>;
template <class P>
std::vector<Grid> seen_in_sets(const Case<P>& c, const Instance<P>& in) {
  std::vector<Grid> all;
  if constexpr (requires { Cases<P>::sets; })
    for (int s = 0; s < Cases<P>::sets; ++s) all.push_back(Cases<P>::seen(c, in, s));
  else
    all.push_back(Cases<P>::seen(c, in));
  return all;
}

template <class A, class B>
bool same_bits(const A& a, const B& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  for (heed::Index i = 0; i < a.rows(); ++i)
    for (heed::Index j = 0; j < a.cols(); ++j) {
      const auto x = a(i, j), y = b(i, j);
      if (!(x == y || (x != x && y != y))) return false;
    }
  return true;
}
