// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/params.hpp>

#include <utility>

using heed::Matrix;

namespace {
struct Inner {
  Matrix<double> w;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("w", x.w...);
  }
};
struct Outer {
  Matrix<double> a;
  std::vector<Inner> layers;
  Inner last;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("a", x.a...);
    f("layers", x.layers...);
    f("last", x.last...);
  }
};
Outer make() {
  return {Matrix<double>::Constant(2, 3, 1),
          {{Matrix<double>::Constant(1, 1, 2)}, {Matrix<double>(0, 0)}},
          {Matrix<double>::Constant(4, 1, 3)}};
}
}  // namespace

TEST(Params, PathsAndOrder) {
  const Outer o = make();
  std::vector<std::string> paths;
  heed::for_each([&](const std::string& path, const auto&) { paths.push_back(path); }, o);
  EXPECT_EQ(paths, (std::vector<std::string>{"a", "layers.0.w", "layers.1.w", "last.w"}));
  EXPECT_EQ(heed::count(o), 6 + 1 + 0 + 4);
}

TEST(Params, Algebra) {
  const Outer o = make();
  Outer sum = heed::zeros_like(o);
  EXPECT_EQ(sum.a.sum(), 0);
  EXPECT_TRUE(heed::same_shape(o, sum));
  heed::add(sum, o);
  heed::add(sum, o);
  EXPECT_EQ(sum.last.w(3, 0), 6);
  heed::for_each_leaf([](auto& x, const auto& y, const auto& z) { x = y + z; }, sum, o, o);  // any number of them
  EXPECT_EQ(sum.a(1, 2), 2);
  heed::set_zero(sum);
  EXPECT_EQ(sum.last.w.sum(), 0);
}

TEST(Params, PartsByType) {
  Outer o = make();
  int parts = 0;
  heed::for_each_part<Inner>([&](Inner& part) { parts += part.w.size() > 0; }, o);
  EXPECT_EQ(parts, 2);
  heed::for_each_part<std::vector<Inner>>([](std::vector<Inner>& list) { list.resize(1); }, o);
  EXPECT_EQ(o.layers.size(), 1u);
  heed::for_each_part<Outer>([&](const Outer& whole) { parts = static_cast<int>(whole.layers.size()); },
                             std::as_const(o));
  EXPECT_EQ(parts, 1);
  heed::for_each_part<int>([](int) { ADD_FAILURE(); }, o);
}

TEST(Params, ShapesDiffer) {
  const Outer o = make();
  Outer other = make();
  other.layers.pop_back();
  EXPECT_FALSE(heed::same_shape(o, other));
  other = make();
  other.layers[1].w.resize(1, 0);
  EXPECT_FALSE(heed::same_shape(o, other));
}
