// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/encoder.hpp>
#include <heed/policies/tiled.hpp>
#include <layers/reversible_block.hpp>
#include <layers/two_inputs.hpp>

using namespace heed;

/// What a refused call leaves behind: nothing that a later call takes for more than it is.

namespace {

constexpr Index d = 6;
using T = Tiled<double>;
using Writer = Decoder<T>;
using Many = ReversibleStack<Block<T>>;

constexpr const char* no_forward = "cache: no forward of a layer of this shape made it";

Writer::Options writer(Index depth) {
  return decoder_options<T>({.d_model = d, .heads = 2, .depth = depth, .d_ff = 7, .policy = {.causal = true}});
}

/// backward after a forward of another depth, with one cache.
template <class L, class Options>
void tells_depths_apart(const Options& options, Index columns) {
  const Matrix<double> x = check::tokens<double>(5, columns);
  const Batch batch = Batch::one(5);
  for (const auto& [made, asked] : {std::pair<Index, Index>{2, 3}, {3, 2}}) {
    check::Rig<L> first(options(made)), second(options(asked));
    const Matrix<double> y = first.forward(x, batch);
    std::swap(first.cache, second.cache);
    EXPECT_EQ(check::error<StateError>([&] { second.backward(x, batch, y); }),
              "cache: the last forward had " + std::to_string(made) + " layers, not " + std::to_string(asked));
    for_each_leaf([](const auto& m) { EXPECT_TRUE((m.array() == 0).all()); }, second.g);
    second.forward(x, batch);
    second.backward(x, batch, y);
  }
}

}  // namespace

TEST(Decoder, TellsDepthsApart) { tells_depths_apart<check::Beside<Writer, d>>(writer, 2 * d); }

TEST(ReversibleStack, TellsDepthsApart) {
  const auto options = [](Index depth) { return stack_options<T>(depth, d); };
  tells_depths_apart<Many>(options, 2 * d);
  check::Rig<Many> two(options(2)), three(options(3));
  const Matrix<double> x = check::tokens<double>(5, 2 * d);
  two.forward(x, Batch::one(5));
  std::swap(two.cache, three.cache);
  EXPECT_EQ(check::error<StateError>([&] { three.replay(x, Batch::one(5)); }),
            "cache: the last forward had 2 layers, not 3");
}
