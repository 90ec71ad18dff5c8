// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/attend.hpp>
#include <heed/attention.hpp>
#include <heed/core/bytes.hpp>
#include <heed/encoder.hpp>
#include <heed/io/pattern_picture.hpp>
#include <heed/kernels/merge.hpp>
#include <heed/layers/embedding.hpp>
#include <heed/layers/owning.hpp>
#include <heed/layers/pooling.hpp>
#include <heed/layers/positions.hpp>
#include <heed/patterns/algebra.hpp>
#include <heed/patterns/causal.hpp>
#include <heed/patterns/count.hpp>
#include <heed/patterns/full.hpp>
#include <heed/patterns/global.hpp>
#include <heed/patterns/log_offsets.hpp>
#include <heed/patterns/random_blocks.hpp>
#include <heed/patterns/sparse_transformer.hpp>
#include <heed/patterns/star.hpp>
#include <heed/patterns/window.hpp>
#include <heed/policies.hpp>
#include <heed/projections/rotary.hpp>
#include <heed/train/adam.hpp>
#include <heed/train/check_gradient.hpp>
#include <heed/train/cross_entropy.hpp>
