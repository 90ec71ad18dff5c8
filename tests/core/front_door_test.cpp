// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/buffer.hpp>
#include <heed/core/front_door.hpp>

using heed::Index, heed::Matrix;

TEST(FrontDoor, NeverCopies) {
  Matrix<float> m = Matrix<float>::Random(6, 8);
  EXPECT_EQ(heed::front_door<float>(m, "m").data(), m.data());
  EXPECT_EQ(heed::front_door<float>(m.middleRows(2, 3), "m").data(), m.data() + 16);
  const auto columns = heed::front_door<float>(m.middleCols(3, 2), "m");
  EXPECT_EQ(columns.data(), m.data() + 3);
  EXPECT_EQ(columns.outerStride(), 8);
  EXPECT_EQ(heed::front_door<float>(heed::block(m, 1, 1, 2, 2), "m")(1, 1), m(2, 2));
  const Eigen::Map<const Eigen::Matrix<float, 3, 4, Eigen::RowMajor>> map(m.data());
  EXPECT_EQ(heed::front_door<float>(map, "m").rows(), 3);
  const Eigen::Ref<const Matrix<float>> ref(m);
  EXPECT_EQ(heed::front_door<float>(ref, "m").data(), m.data());
  EXPECT_EQ(heed::front_door<float>(m.topRows(0), "m").rows(), 0);
  EXPECT_EQ(heed::front_door<float>(m.leftCols(0), "m").cols(), 0);
}

TEST(FrontDoor, RefusesInnerStrides) {
  Matrix<float> m = Matrix<float>::Random(6, 8);
  using Strided = Eigen::Map<Matrix<float>, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  try {
    heed::front_door<float>(Strided(m.data(), 3, 4, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(8, 2)), "m");
    FAIL();
  } catch (const heed::ShapeError& e) {
    EXPECT_STREQ(e.what(), "m: inner stride 1 expected, came 2");
  }
}

TEST(Buffer, OnlyGrows) {
  heed::Buffer<float> b;
  b.resize(4, 5).setOnes();
  const float* const at = b.view().data();
  EXPECT_EQ(b.resize(2, 3).data(), at);
  EXPECT_EQ(b.rows(), 2);
  EXPECT_EQ(b.view().outerStride(), 3);
  EXPECT_EQ(b.resize(5, 4).data(), at);
  EXPECT_EQ(b.bytes(), 20 * sizeof(float));
}
