// tests/checks/shared_objects/plug.hpp - what the shared object offers
// SPDX-License-Identifier: BSL-1.0
#pragma once

#include <ferry/core/task.hpp>

// Exported whatever the visibility of the rest.
extern "C" {
[[gnu::visibility("default")]] int plug_run(int n);
[[gnu::visibility("default")]] ferry::task<int>* plug_make(int n);
[[gnu::visibility("default")]] bool plug_sees_a_turn();
}
