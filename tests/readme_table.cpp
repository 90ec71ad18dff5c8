// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// Prints the table of variants in the README, from the registry.
#include <heed/policies.hpp>

#include <iostream>

int main() {
  std::cout << "| variant | cost | exactness | streams | paper |\n|---|---|---|---|---|\n";
  heed::for_each_type(heed::Policies<float>{}, []<class P>() {
    std::cout << "| `" << P::name << "` | " << P::about.cost << " | " << P::about.exactness << " | "
              << (heed::StreamingPolicy<P> ? "yes" : "no") << " | " << P::about.paper << " |\n";
  });
}
