// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/policies/persistent_memory.hpp>
#include <policies/softmax_cases.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

/// Cases and oracle over an exact policy: one dense softmax over the keys and the memory, one after the other.
template <class P, class Inner, class Rule>
struct MemoryCases : QkvCases<P> {
  using Base = QkvCases<P>;
  using typename Base::Index, typename Base::Options, typename Base::S;
  using Plain = SoftmaxCases<Inner, Rule>;
  using Real = oracle::Real;
  static constexpr bool can_be_causal = true;

  static Case<Inner> inner(const Case<P>& c) {
    Case<Inner> i;
    i.options = c.options.inner;
    i.shape = c.shape;
    i.call = c.call;
    i.seed = c.seed;
    i.context = c.context;
    i.sequence = c.sequence;
    i.head = c.head;
    return i;
  }
  /// What the plain cases read of an instance.
  static Instance<Inner> inner(const Instance<P>& in) {
    Instance<Inner> i;
    i.storage = in.storage;
    return i;
  }
  static std::vector<Case<P>> with_memory(const std::vector<Case<Inner>>& plain, const std::vector<Index>& sizes) {
    std::vector<Case<P>> all;
    for (const Case<Inner>& from : plain) {
      Case<P> c;
      c.options.memory = sizes[all.size() % sizes.size()];
      c.options.rescaled = all.size() / sizes.size() % 2 == 1;
      if (all.size() % 7 == 3) c.options.scale = S(0.25);
      c.options.inner = from.options;
      c.shape = from.shape;
      c.call = from.call;
      c.seed = from.seed;
      c.context = from.context;
      c.sequence = from.sequence;
      c.head = from.head;
      c.label = from.label + " memory " + std::to_string(c.options.memory) + (c.options.rescaled ? " rescaled" : "");
      all.push_back(c);
    }
    return all;
  }
  static std::vector<Case<P>> all() { return with_memory(Plain::all(), {0, 1, 5, 64, 300}); }
  static std::vector<Case<P>> small() { return with_memory(Plain::small(), {0, 1, 2, 7}); }

  static std::vector<Options> options(Index heads) {
    std::vector<Options> all;
    for (const typename Inner::Options& from : Plain::options(heads)) {
      Options o;
      o.memory = static_cast<Index>(all.size()) * 6 + 1;
      o.rescaled = all.size() % 2 == 1;
      o.inner = from;
      all.push_back(o);
    }
    return all;
  }
  template <class F>
  static void bad_options(F&& refused) {
    Options o;
    o.memory = -1;
    refused("less than no memory", "options.memory", o);
    o = {};
    o.scale = std::numeric_limits<S>::infinity();
    refused("infinite scale", "options.scale", o);
    Plain::bad_options([&](const char* what, const char* names, const typename Inner::Options& bad) {
      Options of;
      of.inner = bad;
      refused(what, names, of);
    });
  }
  template <class F>
  static void bad_contexts(const heed::Batch& batch, F&& refused) {
    Plain::bad_contexts(batch, refused);
  }
  static typename P::Context context(const Case<P>& c, std::vector<heed::Matrix<S>>& storage) {
    return Plain::context(inner(c), storage);
  }
  static auto seen(const Case<P>& c, const Instance<P>& in) { return Plain::seen(inner(c), inner(in)); }
  static bool sees_besides(const Case<P>& c) { return c.options.memory > 0; }
  /// Beside much memory, a single key may not move a row.
  static bool sees_first(const Case<P>& c) { return c.options.memory < 64 && Plain::sees_first(inner(c)); }
  static Index seen_pairs(const Case<P>& c) { return Plain::seen_pairs(inner(c)) + c.call.queries * c.options.memory; }
  /// A memory would be counted in both parts.
  static bool keys_split(const Case<P>& c) { return c.options.memory == 0 && Plain::keys_split(inner(c)); }

  static Real key_factor(const Case<P>& c) { return c.options.rescaled ? std::sqrt(Real(c.shape.key_dim)) : Real(1); }
  static Real value_factor(const Case<P>& c) {
    return c.options.rescaled ? std::sqrt(Real(c.options.memory)) : Real(1);
  }
  static heed::Matrix<S> values(const Case<P>& c, const Instance<P>& in) {
    heed::Matrix<S> v(c.call.keys + c.options.memory, c.shape.value_dim);
    v << in.fields.v, static_cast<S>(value_factor(c)) * in.own.m_v;
    return v;
  }

  struct Answer {
    oracle::Gauged o, lse, dq, dk, dv, db, dm_k, dm_v;
  };
  static Answer answer(const Case<P>& c, const Instance<P>& in) {
    const Case<Inner> plain = inner(c);
    const Instance<Inner> data = inner(in);
    const Index n_k = c.call.keys, n = n_k + c.options.memory, d = c.shape.key_dim, d_v = c.shape.value_dim;
    const Real own = 1 / std::sqrt(Real(d)), scale = plain.options.scale ? Real(*plain.options.scale) : own;
    const Real memory_scale = c.options.scale ? Real(*c.options.scale) : scale;
    oracle::Problem problem;
    problem.q = in.fields.q.template cast<Real>();
    problem.k.resize(n, d);
    problem.v.resize(n, d_v);
    // The oracle has one scale: the memory's keys make up for theirs.
    const Real k_factor = key_factor(c) * memory_scale / scale, v_factor = value_factor(c);
    problem.k << in.fields.k.template cast<Real>(), k_factor * in.own.m_k.template cast<Real>();
    problem.v << in.fields.v.template cast<Real>(), v_factor * in.own.m_v.template cast<Real>();
    if (c.options.rescaled) {  // factors are rounded
      problem.k_gauge = problem.k.cwiseAbs();
      problem.v_gauge = 2 * problem.v.cwiseAbs();
    }
    problem.d_o = in.d_o.template cast<Real>();
    problem.d_lse = in.d_lse.template cast<Real>();
    problem.scale = scale;
    problem.soft_cap = Real(plain.options.soft_cap);
    problem.sees = [&](Index i, Index j) { return j >= n_k || Plain::sees(plain, data, i, j); };
    problem.bias = [&](Index i, Index j) {
      if (j >= n_k) return Real(0);
      const auto& alibi = plain.options.alibi;
      const Real slope = alibi.empty() ? Real(0) : Real(alibi[static_cast<std::size_t>(c.head)]);
      return Real(Plain::bias(plain, data, i, j)) - slope * std::abs(Real(i + n_k - c.call.queries - j));
    };
    const oracle::Answer all = oracle::softmax_attention(problem);
    const auto rows = [](const oracle::Gauged& g, Index from, Index count, Real factor) {
      oracle::Gauged part;
      part.value = factor * g.value.middleRows(from, count);
      part.gauge =
          std::abs(factor) * (g.gauge.middleRows(from, count) + 2 * g.value.middleRows(from, count).cwiseAbs());
      return part;
    };
    Answer a;
    a.o = all.o;
    a.lse = all.lse;
    a.dq = all.dq;
    a.dk = rows(all.dk, 0, n_k, 1);
    a.dv = rows(all.dv, 0, n_k, 1);
    a.dm_k = rows(all.dk, n_k, c.options.memory, k_factor);
    a.dm_v = rows(all.dv, n_k, c.options.memory, v_factor);
    a.db.value = all.db.value.leftCols(n_k);
    a.db.gauge = all.db.gauge.leftCols(n_k);
    return a;
  }
  template <class F>
  static void compare_gradients(const Instance<P>& in, const Results<P>& r, const Answer& a, F&& compare) {
    Base::compare_gradients(in, r, a, compare);
    compare("dm_k", r.d_own.m_k, a.dm_k);
    compare("dm_v", r.d_own.m_v, a.dm_v);
    if (!in.context.gradient.empty()) compare("dbias", in.storage.back(), a.db);
  }
};
template <class S>
struct Cases<heed::PersistentMemory<heed::Tiled<S>>>
    : MemoryCases<heed::PersistentMemory<heed::Tiled<S>>, heed::Tiled<S>, SeesEverything> {};
