// tests/core/wait_node_test.cpp
// SPDX-License-Identifier: BSL-1.0
#include <ferry/core/wait_node.hpp>

#include "support/catch.hpp"

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

using ferry::detail::wait_node;

TEST_CASE("a wait_node in use has an odd generation, which changes with every use", "[core][wait_node]") {
    wait_node& node = wait_node::acquire(wait_node::kind::task);
    const std::uint32_t generation = node.generation();
    CHECK(generation % 2 == 1);
    node.release();
    CHECK(node.generation() == generation + 1);
    wait_node& again = wait_node::acquire(wait_node::kind::task);
    CHECK(&again == &node);  // the youngest is the warmest
    CHECK(again.generation() == generation + 2);
    again.release();
}

TEST_CASE("a released wait_node has forgotten its name and its wait", "[core][wait_node]") {
    wait_node& node = wait_node::acquire(wait_node::kind::task);
    CHECK(node.name() == nullptr);
    CHECK(node.waits_in() == nullptr);
    node.set_name("worker");
    node.set_waits_in("event");
    CHECK(std::string(node.name()) == "worker");
    CHECK(std::string(node.waits_in()) == "event");
    node.release();
    CHECK(node.name() == nullptr);
    CHECK(node.waits_in() == nullptr);
}

TEST_CASE("wait_nodes in use are distinct, more of them than a thread caches too", "[core][wait_node]") {
    std::set<wait_node*> nodes;
    for (int round = 0; round < 2; ++round) {
        for (int i = 0; i < 1000; ++i) nodes.insert(&wait_node::acquire(wait_node::kind::task));
        CHECK(nodes.size() == 1000);
        for (wait_node* node : nodes) node->release();
        nodes.clear();
    }
}

TEST_CASE("wait_nodes that a thread released are used again by others after its end", "[core][wait_node]") {
    std::set<wait_node*> of_thread;
    std::thread([&of_thread] {
        std::vector<wait_node*> nodes;
        for (int i = 0; i < 500; ++i) nodes.push_back(&wait_node::acquire(wait_node::kind::task));
        for (wait_node* node : nodes) node->release();
        of_thread.insert(nodes.begin(), nodes.end());
    }).join();
    std::vector<wait_node*> mine;
    std::size_t known = 0;
    for (int i = 0; i < 2000; ++i) {
        mine.push_back(&wait_node::acquire(wait_node::kind::task));
        known += of_thread.count(mine.back());
    }
    for (wait_node* node : mine) node->release();
    CHECK(known == of_thread.size());
}

TEST_CASE("a wait_node may be read by any thread while its owner writes and releases it", "[core][wait_node][mt]") {
    wait_node& node = wait_node::acquire(wait_node::kind::task);
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::thread reader([&] {
        while (!stop.load(std::memory_order_relaxed)) {
            const char* const name = node.name();
            if (name != nullptr && std::string(name) != "a" && std::string(name) != "b") ++wrong;
            static_cast<void>(node.generation());
        }
    });
    node.release();
    for (int i = 0; i < 20'000; ++i) {
        wait_node& mine = wait_node::acquire(wait_node::kind::task);
        mine.set_name(i % 2 == 0 ? "a" : "b");
        mine.release();
    }
    stop.store(true, std::memory_order_relaxed);
    reader.join();
    CHECK(wrong == 0);
}
