// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <laws.hpp>
#include <policies/softmax_cases.hpp>

const bool laws = register_laws<DenseFamily>();

TEST(Dense, HandsOutItsWeights) {
  using A = heed::Attention<heed::Dense<double>>;
  const A attention({.d_model = 6, .heads = 2, .policy = {.causal = true}});
  heed::Random random(1);
  const A::Params params = attention.init(random);
  const heed::Matrix<double> x = heed::random_normal<double>(random, 9, 6, 1);
  A::Cache cache;
  attention.forward(params, x, heed::Batch::ragged({4, 5}), cache);
  for (heed::Index s = 0; s < 2; ++s)
    for (heed::Index h = 0; h < 2; ++h) {
      const heed::Matrix<double> weights = attention.head_cache(cache, s, h).weights.view();
      ASSERT_EQ(weights.rows(), s == 0 ? 4 : 5);
      ASSERT_EQ(weights.cols(), weights.rows());
      for (heed::Index i = 0; i < weights.rows(); ++i) {
        EXPECT_NEAR(weights.row(i).sum(), 1, 1e-14);
        for (heed::Index j = i + 1; j < weights.cols(); ++j) EXPECT_EQ(weights(i, j), 0);
      }
    }
  EXPECT_THROW(attention.head_cache(cache, 2, 0), heed::ShapeError);
  EXPECT_THROW(attention.head_cache(cache, 0, -1), heed::ShapeError);
}
