// tests/checks/shared_objects/host.cpp - an executable that uses ferry and shared objects that do
//   host [FILE...]       loads the files, or uses the one it is linked with; prints "COPIES SHARED"
// SPDX-License-Identifier: BSL-1.0
#include "plug.hpp"

#include <ferry/bridge.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include <dlfcn.h>

namespace {
struct plug {
    decltype(&plug_run) run;
    decltype(&plug_make) make;
    decltype(&plug_sees_a_turn) sees_a_turn;
};

template <class Fn>
Fn find(void* object, const char* name) {
    void* const found = object == nullptr ? nullptr : ::dlsym(object, name);
    if (found != nullptr) return reinterpret_cast<Fn>(found);
    std::fprintf(stderr, "%s\n", ::dlerror());
    std::exit(2);
}

void check(bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
}

ferry::task<int> use(const plug& of) {
    std::unique_ptr<ferry::task<int>> made(of.make(3));
    const int sum = co_await std::move(*made);  // its frame was made over there, and ends here
    made.reset(of.make(1));                     // never started
    made.reset();
    co_return sum;
}
}  // namespace

int main(int count, char** files) {
    std::vector<plug> plugs;
    for (int i = 1; i < count; ++i) {
        void* const object = ::dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
        plugs.push_back(plug{find<decltype(&plug_run)>(object, "plug_run"),
                             find<decltype(&plug_make)>(object, "plug_make"),
                             find<decltype(&plug_sees_a_turn)>(object, "plug_sees_a_turn")});
    }
#if defined(LINKED)
    plugs.push_back(plug{&plug_run, &plug_make, &plug_sees_a_turn});
#endif
    bool shared = true;
    for (int round = 0; round < 20; ++round) {
        for (const plug& each : plugs) {
            check(each.run(3) == 12, "a plug-in runs loops and pools");
            check(ferry::run(use(each)) == 12, "a plug-in's task runs on the host's loop");
            ferry::event_loop loop;
            loop.post([&] { shared = each.sees_a_turn() && shared; });
            loop.run_until_idle();
        }
    }
    std::printf("%d %s\n", ferry::ferry_copies(), shared ? "shared" : "apart");
}
