// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_stream.hpp>
#include <heed/patterns/causal.hpp>

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace heed;
using Real = long double;
using Table = std::vector<std::vector<Real>>;

/// Every kind of pattern behind one type, so that one instantiation of the kernels serves all tests.
struct AnyPattern {
  enum Kind { full, causal, window, ranges, irregular, nothing, blocks } kind = full;
  static constexpr Index side = 20;  // of a block: no multiple of anything
  void keys(Range p, Index n_k, Ranges& out) const {
    switch (kind) {
      case full:
      case irregular:
        return out.add({-5, n_k + 7});  // more than there are: the kernel clips
      case causal:
        return out.add({0, p.end});
      case window:
        return out.add({p.begin - 20, p.end});
      case ranges:
        out.add({0, 3});
        out.add({p.begin / 2 - 4, p.end / 2 + 4});
        return out.add({n_k - 2, n_k});
      case blocks:
        out.add({(block_of(p.begin) - 1) * side, block_of(p.end - 1) * side + side});
        return out.add({2 * side, 3 * side});
      case nothing:
        return;
    }
  }
  bool sees(Index p, Index j) const {
    switch (kind) {
      case full:
        return true;
      case causal:
        return j <= p;
      case window:
        return j <= p && j > p - 20;
      case ranges:
        return j < 3 || (j > p / 2 - 4 && j < p / 2 + 4);
      case irregular:
        return (p * 7 + j * 13 + p * j) % 3 == 0 && p % 5 != 2;
      case blocks:
        return block_of(j) == block_of(p) || block_of(j) == block_of(p) - 1 || block_of(j) == 2;
      case nothing:
        return false;
    }
    return false;
  }
  bool all(Range p, Range keys) const {
    return kind == full || (kind == causal && keys.end <= p.begin + 1) ||
           (kind == window && keys.end <= p.begin + 1 && keys.begin > p.end - 21) ||
           (kind == blocks && block_of(p.begin) == block_of(p.end - 1) && block_of(keys.begin) == block_of(p.begin) &&
            block_of(keys.end - 1) == block_of(p.begin));
  }
  Index query_block() const { return kind == blocks ? side : 0; }
  static Index block_of(Index p) { return (p + 40 * side) / side - 40; }  // rounded down
};
static_assert(KeyPattern<AnyPattern>);

/// Adds strength * (r mod 3 - c mod 5 / 2) at row r and key c, collects the gradient.
template <class S>
struct Bumps {
  S strength = 0;
  Table* gradient = nullptr;
  static Real at(Index row, Index key) { return Real(row % 3) - Real(key % 5) / 2; }
  bool active() const { return strength != 0; }
  bool hides() const { return false; }
  bool sees(const heed::Tile&, Index, Index) const { return true; }
  void fill(const Tile& tile, S* s) const {
    for (Index c = 0; c < tile.keys; ++c)
      for (Index r = 0; r < tile.rows; ++r)
        s[c * tile.stride + r] += strength * static_cast<S>(at(tile.row + r, tile.key + c));
  }
  void pull(const Tile& tile, const S* ds) const {
    for (Index c = 0; c < tile.keys; ++c)
      for (Index r = 0; r < tile.rows; ++r)
        (*gradient)[std::size_t(tile.row + r)][std::size_t(tile.key + c)] += Real(ds[c * tile.stride + r]);
  }
};

/// A matrix inside a larger one of NaN, at an odd address.
template <class S>
struct Field {
  Field(Index rows, Index cols, Index pad, std::minstd_rand& random, double size = 1)
      : store(static_cast<std::size_t>(rows * (cols + pad) + 3), std::numeric_limits<S>::quiet_NaN()),
        n(rows),
        width(cols),
        stride(cols + pad) {
    std::normal_distribution<double> normal;
    for (Index r = 0; r < n; ++r)
      for (Index c = 0; c < width; ++c) at(r, c) = static_cast<S>(size * normal(random));
  }
  S& at(Index r, Index c) { return store[std::size_t(1 + r * stride + c)]; }
  const S& at(Index r, Index c) const { return store[std::size_t(1 + r * stride + c)]; }
  View<S> view() { return {store.data() + 1, n, width, Eigen::OuterStride<>(stride)}; }
  ConstView<S> view() const { return {store.data() + 1, n, width, Eigen::OuterStride<>(stride)}; }
  void fill(S x) {
    for (Index r = 0; r < n; ++r)
      for (Index c = 0; c < width; ++c) at(r, c) = x;
  }
  bool same_bits(const Field& other, Index row) const {
    for (Index c = 0; c < width; ++c) {  // not memcmp: a long double has bytes that mean nothing
      const S a = at(row, c), b = other.at(row, c);
      if (!(a == b || (std::isnan(a) && std::isnan(b))) || std::signbit(a) != std::signbit(b)) return false;
    }
    return true;
  }
  std::vector<S> store;
  Index n, width, stride;
};

struct Shape {
  Index n_q = 0, n_k = 0, d = 0, d_v = 0, pad = 0, group = 1;
  bool stream = false;
  AnyPattern pattern{};
  double cap = 0, strength = 0, size = 1;
  friend std::ostream& operator<<(std::ostream& os, const Shape& s) {
    return os << "n_q " << s.n_q << " n_k " << s.n_k << " d " << s.d << " d_v " << s.d_v << " pad " << s.pad
              << " group " << s.group << " stream " << s.stream << " pattern " << s.pattern.kind << " cap " << s.cap
              << " term " << s.strength << " size " << s.size;
  }
};

template <class S>
struct Case {
  Case(Shape shape, unsigned seed)
      : s(shape),
        random(seed),
        q(s.n_q, s.d, s.pad, random, s.size),
        k(s.n_k, s.d, s.pad, random),
        v(s.n_k, s.d_v, s.pad, random),
        o(s.n_q, s.d_v, s.pad, random),
        lse(Vector<S>::Constant(s.n_q, S(777))) {}
  Logits<S> logits() const { return {S(1) / std::sqrt(S(std::max<Index>(s.d, 1))), S(s.cap)}; }
  Qkv<ConstView<S>> in() const { return {q.view(), k.view(), v.view()}; }
  void forward(Range rows) {
    const Bumps<S> term{S(s.strength)};
    if (s.group == 1 && !s.stream) {
      softmax_forward(s.pattern, term, logits(), in(), rows, Out<S>{o.view(), view(lse)}, arena);
      return;
    }
    KeyPanels<S> panels(s.n_k + 3, s.d);
    panels.append(in().k);
    softmax_stream(s.pattern, term, logits(), in().q, panels, in().v, s.group, Out<S>{o.view(), view(lse)}, arena);
  }
  void forward() { forward({0, s.n_q}); }
  Index position(Index row) const { return row / s.group + s.n_k - s.n_q / s.group; }
  bool sees(Index row, Index key) const { return s.pattern.sees(position(row), key); }

  Shape s;
  std::minstd_rand random;
  Field<S> q, k, v, o;
  Vector<S> lse;
  Arena arena;
};

/// The same in the textbook's way, in long double.
struct Naive {
  template <class S>
  explicit Naive(const Case<S>& x)
      : e(table(x.s.n_q, x.s.n_k)),
        slope(e),
        p(e),
        o(table(x.s.n_q, x.s.d_v)),
        gauge(o),
        lse(std::size_t(x.s.n_q)),
        size(std::size_t(x.s.n_q)) {
    const Real scale = Real(x.logits().scale), cap = Real(x.logits().soft_cap);
    for (std::size_t i = 0; i < e.size(); ++i) {
      Real m = -std::numeric_limits<Real>::infinity(), l = 0;
      for (std::size_t j = 0; j < e[i].size(); ++j) {
        if (!x.sees(Index(i), Index(j))) continue;
        Real u = 0, sum = 0;
        for (Index c = 0; c < x.s.d; ++c) {
          const Real term = Real(x.q.at(Index(i), c)) * Real(x.k.at(Index(j), c));
          u += scale * term;
          sum += scale * std::abs(term);
        }
        const Real bump = static_cast<Real>(S(x.s.strength)) * Bumps<S>::at(Index(i), Index(j));
        const Real t = cap > 0 ? cap * std::tanh(u / cap) : u;
        slope[i][j] = cap > 0 ? 1 - (t / cap) * (t / cap) : 1;
        e[i][j] = t + bump;
        size[i] = std::max(size[i], sum + std::abs(bump));
        m = std::max(m, e[i][j]);
      }
      for (std::size_t j = 0; j < e[i].size(); ++j)
        if (x.sees(Index(i), Index(j))) l += p[i][j] = std::exp(e[i][j] - m);
      lse[i] = m + std::log(l);
      for (std::size_t j = 0; j < e[i].size(); ++j) {
        if (!x.sees(Index(i), Index(j))) continue;
        p[i][j] /= l;
        for (std::size_t c = 0; c < o[i].size(); ++c) {
          o[i][c] += p[i][j] * Real(x.v.at(Index(j), Index(c)));
          gauge[i][c] += p[i][j] * std::abs(Real(x.v.at(Index(j), Index(c))));
        }
      }
    }
  }
  static Table table(Index rows, Index cols) { return Table(std::size_t(rows), std::vector<Real>(std::size_t(cols))); }
  Table e, slope, p, o, gauge;  // scores, dt/du, weights, result, sum_j p |v|
  std::vector<Real> lse, size;  // size: max_j scale sum |q k|
};

/// |o - oracle| <= 8 u (sqrt(m) + sqrt(d) + 2 + S_i) G.
template <class S>
void check_forward(Case<S>& x) {
  SCOPED_TRACE(testing::Message() << x.s);
  x.forward();
  const Naive naive(x);
  const Real u = Real(std::numeric_limits<S>::epsilon()) / 2;
  for (Index i = 0; i < x.s.n_q; ++i) {
    const std::size_t row = std::size_t(i);
    const Real relative = 8 * u * (std::sqrt(Real(x.s.n_k)) + std::sqrt(Real(x.s.d)) + 2 + naive.size[row]);
    if (std::isinf(naive.lse[row])) {
      ASSERT_EQ(x.lse[i], -std::numeric_limits<S>::infinity()) << "row " << i;
    } else {
      ASSERT_LE(std::abs(Real(x.lse[i]) - naive.lse[row]), relative * (1 + std::abs(naive.lse[row]))) << "row " << i;
    }
    for (Index c = 0; c < x.s.d_v; ++c)
      ASSERT_LE(std::abs(Real(x.o.at(i, c)) - naive.o[row][std::size_t(c)]),
                relative * naive.gauge[row][std::size_t(c)])
          << "row " << i << " column " << c;
  }
}

constexpr std::array<Index, 22> lengths = {0,  1,  2,  3,  7,  8,  9,  15, 16,  17,  31,
                                           33, 47, 48, 49, 63, 64, 65, 97, 129, 300, 500};
constexpr std::array<Index, 12> widths = {1, 3, 4, 5, 8, 16, 17, 33, 40, 64, 80, 128};

Shape random_shape(std::minstd_rand& random, Index longest) {
  const auto pick = [&](Index n) { return std::uniform_int_distribution<Index>(0, n - 1)(random); };
  const auto length = [&] {
    Index n = longest + 1;
    while (n > longest) n = lengths[std::size_t(pick(22))];
    return n;
  };
  Shape s{.n_q = length(), .n_k = length(), .d = widths[std::size_t(pick(12))], .d_v = widths[std::size_t(pick(12))]};
  if (pick(3) > 0) s.n_k = s.n_q;
  if (pick(2) == 0) s.pad = pick(9);
  s.pattern.kind = static_cast<AnyPattern::Kind>(pick(7));
  if (pick(5) == 0) s.cap = 1.5;
  if (pick(4) == 0) s.strength = 0.75;
  if (pick(4) == 0) s.size = 6;
  return s;
}

template <class S>
class Softmax : public testing::Test {
 protected:
  static constexpr bool slow = std::is_same_v<S, long double>;
};
using Scalars = testing::Types<float, double, long double>;
TYPED_TEST_SUITE(Softmax, Scalars);

TYPED_TEST(Softmax, ForwardAgreesWithTheTextbook) {
  std::minstd_rand random(11);
  for (unsigned i = 0; i < (this->slow ? 30 : 250) && !this->HasFailure(); ++i) {
    Case<TypeParam> x(random_shape(random, this->slow ? 129 : 500), i);
    check_forward(x);
  }
}

TYPED_TEST(Softmax, ForwardOfStreams) {
  std::minstd_rand random(12);
  for (unsigned i = 0; i < 150 && !this->HasFailure(); ++i) {
    Shape s = random_shape(random, 65);
    s.stream = true;
    s.group = 1 + Index(i) % 9;
    s.n_q = (i % 3 == 0 ? s.n_q / 4 : 1) * s.group;  // one time step is another path
    if (i % 3 == 1) s.d = s.d_v = 64;
    if (i % 15 == 1) s.n_k = 1100;
    Case<TypeParam> x(s, i);
    check_forward(x);
  }
}

TYPED_TEST(Softmax, EmptySides) {
  for (const Index n_q : {0, 1, 4, 60})
    for (const Index n_k : {0, 1, 70})
      for (const Index d : {0, 16, 5})
        for (const Index d_v : {0, 16, 3}) {
          Case<TypeParam> x({.n_q = n_q, .n_k = n_k, .d = d, .d_v = d_v, .pad = n_k % 2}, 5);
          check_forward(x);
        }
}

TYPED_TEST(Softmax, HugeLogitsStayFinite) {
  using S = TypeParam;
  for (const Index n_q : {1, 50})  // a row, tiles
    for (const double size : {1e6, 1e12, 1e30}) {
      Case<S> x({.n_q = n_q, .n_k = 70, .d = 16, .d_v = 16, .size = size}, 6);
      x.forward();
      for (Index i = 0; i < n_q; ++i) {
        ASSERT_TRUE(std::isfinite(x.lse[i]));
        for (Index c = 0; c < 16; ++c)
          ASSERT_LE(std::abs(x.o.at(i, c)), x.v.view().cwiseAbs().template maxCoeff<Eigen::PropagateNaN>() * S(1.001));
      }
    }
}

TYPED_TEST(Softmax, TasksOverRowsChangeNoBit) {
  constexpr Index step = softmax_rows_per_task<TypeParam>;
  for (const Index n : {step + 1, 2 * step + 50})
    for (const auto kind : {AnyPattern::window, AnyPattern::blocks}) {
      const Shape s{.n_q = n, .n_k = n + 3, .d = 16, .d_v = 16, .pad = 3, .pattern = {kind}};
      Case<TypeParam> whole(s, 7), parts(s, 7);
      whole.forward();
      for (Index row = n / step * step; row >= 0; row -= step) {
        parts.o.at(0, 0) = TypeParam(-1);
        parts.forward({row, std::min(n, row + step)});
        if (row > 0) {
          ASSERT_EQ(parts.o.at(0, 0), TypeParam(-1)) << "rows outside of the task are not touched";
        }
      }
      EXPECT_EQ(whole.lse, parts.lse);
      for (Index i = 0; i < n; ++i) ASSERT_TRUE(whole.o.same_bits(parts.o, i)) << i;
    }
}

TYPED_TEST(Softmax, WhatIsNotSeenCannotBeFelt) {
  using S = TypeParam;
  const S nan = std::numeric_limits<S>::quiet_NaN(), inf = std::numeric_limits<S>::infinity();
  std::minstd_rand random(13);
  for (unsigned i = 0; i < 120 && !this->HasFailure(); ++i) {
    Shape s = random_shape(random, 129);
    if (s.n_q == 0 || s.n_k == 0) continue;
    if (i % 4 == 0) s.n_q = 1 + Index(i) / 4 % 3;
    if (i % 4 == 1) s.n_q = s.group = 2 + Index(i) % 7;
    s.stream = i % 5 == 2;
    if (i % 8 < 2) s.d = s.d_v = 16;
    SCOPED_TRACE(testing::Message() << s);
    Case<S> clean(s, i), dirty(s, i);
    const Index j = Index(random() % unsigned(s.n_k)), bad_q = Index(random() % unsigned(s.n_q));
    if (i % 3 != 1) dirty.k.at(j, s.d / 2) = i % 2 == 0 ? nan : inf;
    if (i % 3 != 0) dirty.v.at(j, s.d_v / 2) = i % 2 == 0 ? nan : -inf;
    dirty.q.at(bad_q, 0) = nan;
    clean.forward();
    dirty.forward();
    for (Index r = 0; r < s.n_q; ++r) {
      bool any = false;
      for (Index c = 0; c < s.n_k; ++c) any |= clean.sees(r, c);
      if (r == bad_q && any) {
        EXPECT_TRUE(std::isnan(dirty.o.at(r, 0)) && std::isnan(dirty.lse[r])) << r;
      } else if (!clean.sees(r, j) || !any) {
        EXPECT_TRUE(clean.o.same_bits(dirty.o, r) && clean.lse[r] == dirty.lse[r]) << r;
      } else if (i % 3 == 1 || (i % 3 == 2 && i % 2 == 0)) {  // an infinite key may have no weight
        EXPECT_FALSE(std::isfinite(dirty.o.at(r, s.d_v / 2))) << r;
      }
    }
  }
}

template <class S>
struct Backward {
  Backward(Case<S>& x, unsigned seed)
      : random(seed),
        d_o(x.s.n_q, x.s.d_v, x.s.pad, random),
        dlse(x.s.n_q),
        dq(x.s.n_q, x.s.d, x.s.pad, random),
        dk(x.s.n_k, x.s.d, x.s.pad, random),
        dv(x.s.n_k, x.s.d_v, x.s.pad, random),
        de(Naive::table(x.s.n_q, x.s.n_k)) {
    for (Index i = 0; i < dlse.size(); ++i) dlse[i] = S(i % 5) / S(4) - S(0.5);
    if (seed % 3 == 0) dlse.resize(0);
  }
  void run(Case<S>& x) {
    softmax_backward(x.s.pattern, Bumps<S>{S(x.s.strength), &de}, x.logits(), x.in(),
                     ConstOut<S>{std::as_const(x.o).view(), view(std::as_const(x.lse))},
                     ConstOut<S>{std::as_const(d_o).view(), view(std::as_const(dlse))},
                     Qkv<View<S>>{dq.view(), dk.view(), dv.view()}, x.arena);
  }
  void zero() {
    dq.fill(S(0));
    dk.fill(S(0));
    dv.fill(S(0));
  }
  std::minstd_rand random;
  Field<S> d_o;
  Vector<S> dlse;
  Field<S> dq, dk, dv;
  Table de;
};

template <class S>
void check_backward(const Shape& s, unsigned seed) {
  SCOPED_TRACE(testing::Message() << s);
  Case<S> x(s, seed);
  x.forward();
  Backward<S> back(x, seed);
  const Field<S> q0 = back.dq, k0 = back.dk, v0 = back.dv;
  back.run(x);
  const Naive naive(x);
  const Real u = Real(std::numeric_limits<S>::epsilon()) / 2, scale = Real(x.logits().scale);
  Table dq = Naive::table(s.n_q, s.d), dk = Naive::table(s.n_k, s.d), dv = Naive::table(s.n_k, s.d_v);
  Table gq = dq, gk = dk, gv = dv;  // gauges
  Real largest = 0;
  for (const Real size : naive.size) largest = std::max(largest, size);
  const Real relative =
      16 * u * (std::sqrt(Real(std::max(s.n_k, s.n_q))) + std::sqrt(Real(std::max(s.d, s.d_v))) + 2 + largest);
  for (Index i = 0; i < s.n_q; ++i) {
    const std::size_t r = std::size_t(i);
    Real delta = 0, g_delta = 0;
    for (Index c = 0; c < s.d_v; ++c) {
      delta += Real(back.d_o.at(i, c)) * naive.o[r][std::size_t(c)];
      g_delta += std::abs(Real(back.d_o.at(i, c))) * naive.gauge[r][std::size_t(c)];
    }
    const Real dlse = back.dlse.size() > 0 ? Real(back.dlse[i]) : Real(0);
    for (Index j = 0; j < s.n_k; ++j) {
      const std::size_t key = std::size_t(j);
      const Real p = naive.p[r][key];
      Real dp = 0, g_dp = 0;
      for (Index c = 0; c < s.d_v; ++c) {
        dp += Real(back.d_o.at(i, c)) * Real(x.v.at(j, c));
        g_dp += std::abs(Real(back.d_o.at(i, c)) * Real(x.v.at(j, c)));
        dv[key][std::size_t(c)] += p * Real(back.d_o.at(i, c));
        gv[key][std::size_t(c)] += p * std::abs(Real(back.d_o.at(i, c)));
      }
      const Real de = p * (dp - delta + dlse), gauge = p * (g_dp + g_delta + std::abs(dlse));
      if (s.strength != 0) {
        ASSERT_LE(std::abs(back.de[r][key] - de), relative * gauge) << i << ' ' << j;
      }
      const Real du = scale * de * naive.slope[r][key], g_du = scale * gauge;
      for (Index c = 0; c < s.d; ++c) {
        dq[r][std::size_t(c)] += du * Real(x.k.at(j, c));
        gq[r][std::size_t(c)] += g_du * std::abs(Real(x.k.at(j, c)));
        dk[key][std::size_t(c)] += du * Real(x.q.at(i, c));
        gk[key][std::size_t(c)] += g_du * std::abs(Real(x.q.at(i, c)));
      }
    }
  }
  const auto compare = [&](const char* name, const Field<S>& got, const Field<S>& before, const Table& want,
                           const Table& gauge) {
    for (std::size_t r = 0; r < want.size(); ++r)
      for (std::size_t c = 0; c < want[r].size(); ++c) {
        const Real was = Real(before.at(Index(r), Index(c)));
        ASSERT_LE(std::abs(Real(got.at(Index(r), Index(c))) - was - want[r][c]),
                  relative * gauge[r][c] + 4 * u * std::abs(was))
            << name << ' ' << r << ' ' << c;
      }
  };
  compare("dq", back.dq, q0, dq, gq);
  compare("dk", back.dk, k0, dk, gk);
  compare("dv", back.dv, v0, dv, gv);
}

TYPED_TEST(Softmax, BackwardAgreesWithTheTextbookAndAdds) {
  std::minstd_rand random(14);
  for (unsigned i = 0; i < (this->slow ? 25 : 150) && !this->HasFailure(); ++i)
    check_backward<TypeParam>(random_shape(random, this->slow ? 97 : 300), i);
  for (const Index n : {0, 1, 5})
    for (const Index d : {0, 4}) check_backward<TypeParam>({.n_q = n, .n_k = 5 - n, .d = d, .d_v = 4 - d}, 3);
}

/// NaN in row `bad` of q, do, lse or of k, v: only the gradients of what is related to it may change.
TYPED_TEST(Softmax, BackwardKeepsWhatIsNotSeenApart) {
  using S = TypeParam;
  const S nan = std::numeric_limits<S>::quiet_NaN();
  std::minstd_rand random(15);
  for (unsigned i = 0; i < 120 && !this->HasFailure(); ++i) {
    Shape s = random_shape(random, 129);
    if (s.n_q == 0 || s.n_k == 0) continue;
    SCOPED_TRACE(testing::Message() << s << " case " << i % 5);
    Case<S> clean(s, i);
    clean.forward();
    Case<S> dirty = clean;
    Backward<S> a(clean, i), b(dirty, i);
    a.zero();
    b.zero();
    const Index query = Index(random() % unsigned(s.n_q)), key = Index(random() % unsigned(s.n_k));
    switch (i % 5) {
      case 0:
        dirty.q.at(query, s.d / 2) = nan;
        break;
      case 1:
        b.d_o.at(query, s.d_v / 2) = nan;
        break;
      case 2:
        dirty.lse[query] = std::isinf(dirty.lse[query]) ? dirty.lse[query] : nan;
        break;
      case 3:
        dirty.k.at(key, s.d / 2) = nan;
        break;
      case 4:
        dirty.v.at(key, s.d_v / 2) = nan;
        break;
    }
    a.run(clean);
    b.run(dirty);
    for (Index r = 0; r < s.n_q; ++r)
      if (i % 5 < 3 ? r != query : !clean.sees(r, key)) {
        EXPECT_TRUE(a.dq.same_bits(b.dq, r)) << "dq " << r;
      }
    if (i % 5 < 3)
      for (Index j = 0; j < s.n_k; ++j)
        if (!clean.sees(query, j)) {
          EXPECT_TRUE(a.dk.same_bits(b.dk, j) && a.dv.same_bits(b.dv, j)) << "dk, dv " << j;
        }
  }
}

TYPED_TEST(Softmax, ScratchIsWhatIsPublished) {
  using S = TypeParam;
  for (const Index group : {1, 3, 8, 20}) {
    Case<S> x({.n_q = group, .n_k = 40, .d = 64, .d_v = 32, .group = group, .stream = true}, 8);
    x.o = Field<S>(group, 32, 0, x.random);
    x.v = Field<S>(40, 32, 0, x.random);
    x.forward();
    EXPECT_LE(x.arena.peak(), softmax_stream_scratch<S>(group, 40, 64, 32, group)) << group;
  }
  for (const Index n : {1, 2, 3, 30, 288, 290, 512, 700})
    for (const Index pad : {0, 8}) {
      Case<S> x({.n_q = n, .n_k = n, .d = 32, .d_v = 16, .pad = pad, .pattern = {AnyPattern::causal}}, 8);
      x.forward();
      if (n >= 288)
        EXPECT_EQ(x.arena.peak(), softmax_forward_scratch<S>(n, n, 32, 16, pad > 0)) << n;
      else
        EXPECT_LE(x.arena.peak(), softmax_forward_scratch<S>(n, n, 32, 16, pad > 0)) << n;
      Arena other;
      std::swap(other, x.arena);
      Backward<S> back(x, 1);
      back.run(x);
      EXPECT_EQ(x.arena.peak(), softmax_backward_scratch<S>(n, n, 32, 16, pad > 0)) << n;
    }
}

/// Remembers whether more than one natural block was asked about at a time.
struct Watched {
  Index side;
  bool* straddled;
  void note(Range p) const {
    const auto block = [&](Index i) { return (i + 100 * side) / side; };
    *straddled = *straddled || block(p.begin) != block(p.end - 1);
  }
  void keys(Range p, Index n_k, Ranges& out) const {
    note(p);
    out.add({0, n_k});
  }
  bool sees(Index p, Index j) const { return (p + j) % 3 != 0; }
  bool all(Range p, Range) const {
    note(p);
    return false;
  }
  Index query_block() const { return side; }
};

TYPED_TEST(Softmax, TilesDoNotStraddleNaturalBlocks) {
  using S = TypeParam;
  for (const Index side : {16, 20, 48, 64, 100, 500})
    for (const Index n : {5, 130, 700})
      for (const Index more : {0, 7, -3}) {
        Case<S> x({.n_q = n, .n_k = std::max<Index>(n + more, 1), .d = 5, .d_v = 4, .pad = 2}, 8);
        bool straddled = false;
        const Watched pattern{side, &straddled};
        softmax_forward(pattern, NoTerm{}, x.logits(), x.in(), {0, n}, Out<S>{x.o.view(), view(x.lse)}, x.arena);
        EXPECT_LE(x.arena.peak(), softmax_forward_scratch<S>(n, x.s.n_k, 5, 4, true, side));
        Field<S> dq(n, 5, 0, x.random), dk(x.s.n_k, 5, 0, x.random), dv(x.s.n_k, 4, 0, x.random);
        Arena other;
        const ConstOut<S> out{std::as_const(x.o).view(), view(std::as_const(x.lse))};
        softmax_backward(pattern, NoTerm{}, x.logits(), x.in(), out, {out.o, {nullptr, 0}},
                         Qkv<View<S>>{dq.view(), dk.view(), dv.view()}, other);
        EXPECT_LE(other.peak(), softmax_backward_scratch<S>(n, x.s.n_k, 5, 4, true, side));
        EXPECT_FALSE(straddled) << "blocks of " << side << ", " << n << " queries, " << x.s.n_k << " keys";
      }
}

/// The patterns of the library instantiate too.
TYPED_TEST(Softmax, CausalPattern) {
  using S = TypeParam;
  Case<S> x({.n_q = 100, .n_k = 100, .d = 16, .d_v = 16, .pattern = {AnyPattern::causal}}, 9), y = x;
  x.forward();
  softmax_forward(Causal{}, NoTerm{}, y.logits(), y.in(), {0, 100}, Out<S>{y.o.view(), view(y.lse)}, y.arena);
  for (Index r = 0; r < 100; ++r) EXPECT_TRUE(x.o.same_bits(y.o, r));
}

}  // namespace
